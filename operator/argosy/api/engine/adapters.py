"""LoRA adapters of a ServedModel: what users declare of one, and what they read of it.

Owns the fields of an entry of `spec.adapters` and of `status.adapters`, and the rules between adapters and
the engine's settings.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from argosy.api.schema.rule import Rule
from argosy.api.schema.value import AsSet, Count, ObjectName, Sentence, ServedName, Share, Value

if TYPE_CHECKING:
    from argosy.api.servedmodel import ServedModelSpec

MOST_ADAPTERS = 128
"""Of one model: each is a route of every class that takes it."""
MOST_PODS = 16
"""Replicas that the status of an adapter names."""


class Adapter(Value):
    """A LoRA adapter that engines of the model load while they run."""

    name: ServedName = Field(description="Value of a request's model field that this adapter answers to.")
    source: str = Field(
        min_length=1,
        max_length=1024,
        description=(
            "Where engines load it from: a path in the engine's container (spec.engine.volumeMounts), or an"
            " id on Hugging Face. Another source is loaded in its place, without a restart."
        ),
    )
    rank: int = Field(
        ge=1, le=256, description="Rank of the adapter (r in its adapter_config.json), at most maxLoraRank."
    )
    weight: int = Field(
        1,
        ge=1,
        le=1000,
        description=(
            "Expected requests of this adapter relative to the model's other ones: one with a larger weight"
            " is on more replicas."
        ),
    )


class AdapterState(StrEnum):
    """How far an adapter is."""

    LOADED = "Loaded"
    """At least one replica holds it and takes its requests."""
    LOADING = "Loading"
    FAILED = "Failed"
    """No replica holds it, and at least one could not load it."""
    NO_SLOT = "NoSlot"
    """No replica has a slot for it."""
    NOT_ROUTED = "NotRouted"
    """No class sends requests for it."""


class ShareSource(StrEnum):
    """What an adapter's expected share of the requests comes from."""

    MEASURED = "Measured"
    """Mostly from requests that Envoys counted."""
    DECLARED = "Declared"
    """Mostly from the weights in the spec."""


class AdapterStatus(Value):
    """Where an adapter is loaded."""

    name: ServedName = Field(description="Name of the adapter.")
    state: AdapterState = Field(
        description=(
            "Loaded: at least one replica takes its requests. Loading: none does yet. Failed: a replica could"
            " not load it, and none holds it. NoSlot: more adapters than replicas times maxLoras. NotRouted:"
            " no WorkloadClass sends requests for it."
        )
    )
    replicas: Count = Field(description="Replicas that hold it and take its requests.")
    pods: Annotated[tuple[ObjectName, ...], Field(max_length=MOST_PODS), AsSet()] = Field(
        (), description="Pods of these replicas, the first 16 by name."
    )
    request_share: Share | None = Field(
        None,
        description=(
            "Expected share (0-1) of the requests for the model's adapters, to one significant digit: it"
            " decides on how many replicas the adapter is. Of several sharing groups, the largest."
        ),
    )
    share_source: ShareSource | None = Field(
        None,
        description=(
            "Measured: requestShare comes from the requests that Envoys counted. Declared: from the weights"
            " in spec.adapters, because too few were counted yet or no Envoy was read for 10 minutes."
        ),
    )
    message: Sentence | None = Field(
        None, description="What is missing, with the engine's words where it refused to load it."
    )


def _has_slots(spec: ServedModelSpec) -> bool:
    return not spec.adapters or spec.engine.max_loras > 0


def _ranks_fit(spec: ServedModelSpec) -> bool:
    return all(each.rank <= spec.engine.max_lora_rank for each in spec.adapters)


def _names_differ(spec: ServedModelSpec) -> bool:
    return not {each.name for each in spec.adapters} & set(spec.served_names)


ADAPTER_RULES: tuple[Rule, ...] = (
    Rule(
        name="servedmodel-adapters-slots",
        cel="size(self.adapters) == 0 || self.engine.maxLoras > 0",
        message=(
            "spec.adapters needs spec.engine.maxLoras of at least 1, because an engine with 0 loads no"
            " adapter; set spec.engine.maxLoras to the number of adapters that one replica should hold"
        ),
        holds=_has_slots,
        field="adapters",
    ),
    Rule(
        name="servedmodel-adapters-rank",
        cel="self.adapters.all(adapter, adapter.rank <= self.engine.maxLoraRank)",
        message=(
            "spec.adapters: rank must be at most spec.engine.maxLoraRank, because an engine refuses an"
            " adapter of a larger rank; set spec.engine.maxLoraRank to the largest rank of the adapters"
        ),
        holds=_ranks_fit,
        field="adapters",
    ),
    Rule(
        name="servedmodel-adapters-names",
        cel="self.adapters.all(adapter, !(adapter.name in self.servedNames))",
        message=(
            "spec.adapters: name must not be one of spec.servedNames, because an engine serves the model"
            " itself under those; give the adapter another name"
        ),
        holds=_names_differ,
        field="adapters",
    ),
)
