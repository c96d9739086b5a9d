"""Owns the description of a live fleet: which GPU nodes, and how fast its time-outs run.

Input: YAML. Output: a `LiveFleetSpec`, or `SpecError` that names the field.

    nodes:
      - {name: l40s, gpuProduct: NVIDIA-L40S, gpus: 2, count: 6, zone: zone-a}
      - {name: h200, gpuProduct: NVIDIA-H200, gpus: 1, count: 0, most: 2, bringSeconds: 5, emptySeconds: 30}
    taint: false
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from argosy.errors import SpecError

SIMULATED = "argosy-sim"
"""The label `type` of every simulated node."""
TAINT = {"key": "argosy.dev/simulated", "value": "true", "effect": "NoSchedule"}
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=48)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class NodeGroup(_Model):
    """`count` alike nodes, called `name`-0, `name`-1, ...

    `gpu_product` is the value of the label nvidia.com/gpu.product. `labels` come on top of
    those that NVIDIA's feature discovery would set.

    `most`: an autoscaler brings further nodes up to so many, each `bring_seconds` after a pod found no room,
    and takes those beyond `count` away that were empty for `empty_seconds`. Absent: it brings none.
    """

    name: _Name
    gpu_product: Annotated[str, Field(min_length=1, max_length=63)]
    gpus: Annotated[int, Field(ge=1, le=16)]
    count: Annotated[int, Field(ge=0, le=1000)]
    most: Annotated[int, Field(ge=1, le=1000)] | None = None
    bring_seconds: Annotated[float, Field(ge=0)] = 2.0
    empty_seconds: Annotated[float, Field(ge=0)] = 30.0
    zone: Annotated[str, Field(min_length=1, max_length=63)] = "zone-a"
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _has_nodes(self) -> NodeGroup:
        if self.most is None and not self.count:
            raise ValueError(f"{self.name}: count is 0; set most to let nodes come, or count to at least 1")
        if self.most is not None and self.most < self.count:
            raise ValueError(f"{self.name}: most is {self.most} and count {self.count}; raise most")
        return self


class LiveFleetSpec(_Model):
    """A fleet.

    `taint`: keep foreign pods (a kind cluster's DaemonSets) off the nodes.
    `engine_port`: a port the user insists on; None takes 8000 if it is free.
    `load_seconds`: replaces the delay computed from the weights (tests).
    `crash_back_off_seconds`: wait before a crashed container starts again, doubled each time
    up to 300 s, as a kubelet does.
    """

    nodes: Annotated[tuple[NodeGroup, ...], Field(min_length=1, max_length=64)]
    taint: bool = False
    engine_port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    load_seconds: Annotated[float, Field(ge=0)] | None = None
    crash_back_off_seconds: Annotated[float, Field(ge=0)] = 10.0

    @field_validator("nodes")
    @classmethod
    def _names_differ(cls, groups: tuple[NodeGroup, ...]) -> tuple[NodeGroup, ...]:
        names = [group.name for group in groups]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{', '.join(repeated)} is named twice; nodes would share a name")
        return groups


# The fleet of the demo's story: three L40S replicas at rest, five in the burst, one H100 at the end.
DEFAULT_FLEET = LiveFleetSpec(
    nodes=(
        NodeGroup(name="l40s", gpu_product="NVIDIA-L40S", gpus=2, count=6),
        NodeGroup(name="h100", gpu_product="NVIDIA-H100-80GB-HBM3", gpus=2, count=2),
    )
)


def parse_spec(text: str, source: str = "the fleet's description") -> LiveFleetSpec:
    """Return the fleet described by YAML; raises `SpecError` naming `source` and the field."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"is not YAML: {error}", source) from error
    try:
        return LiveFleetSpec.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise SpecError(str(first["msg"]), f"{source}: {path}" if path else source) from error


def load_spec(path: Path) -> LiveFleetSpec:
    """Read a fleet's description from a file; raises `SpecError`."""
    try:
        text = path.read_text()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(path)) from error
    return parse_spec(text, str(path))


def dump_spec(spec: LiveFleetSpec) -> str:
    """Return YAML that `parse_spec` reads back."""
    return yaml.safe_dump(spec.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False)
