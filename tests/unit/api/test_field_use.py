"""Every field of every spec is read by some module outside `argosy.api`.

It shows that code reads the field of that very class (not only some attribute of the same name) and that
nothing was added to the schema and forgotten. It does not show that the value changes a decision: tests
of the module that reads it do. A FleetPlan is Argosy's own report, parts of which only people read: there
it is enough that a constructor's keyword sets the field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from field_reads import Reads, reads_of

from argosy.api import KINDS, FleetPlan, ServedModel
from argosy.api.crd.table import PlacedField, fields_of, values_in
from argosy.api.engine.pod import EnginePod
from argosy.api.fleet import GatewaySpec
from argosy.api.schema.value import Value
from argosy.api.servedmodel import Engine, ServedModelSpec
from argosy.api.workloadclass import HeaderMatch, PathMatch
from argosy.snapshot import EngineSettings

SOURCE = Path(__file__).parents[3] / "operator/argosy"
FIELDS = [field for kind in KINDS for field in fields_of(kind)]
BEHIND_A_PROPERTY = {(ServedModelSpec, "served_names"): (ServedModel, "served_names")}
"""Fields that a property of the API reads; that property has to be read."""


def written_whole(value: type[Value]) -> Iterator[type[Value]]:
    """The values in a value's fields, and those in theirs."""
    for info in value.model_fields.values():
        for below in values_in(info.annotation):
            yield below
            yield from written_whole(below)


READ_BY_NAME = {
    Engine: frozenset(f.name for f in dataclasses.fields(EngineSettings)) | set(EnginePod.model_fields),
    **{value: frozenset(value.model_fields) for value in written_whole(EnginePod)},
}
"""Values that functions read field by field, by name (`EngineSettings.of`, `written` of an engine's pod), and
the names that they know: that each changes the pod is shown in tests/unit/manifests, test_deployment.py and
test_engine_pod.py."""


def test_every_field_is_read() -> None:
    reads = reads_of(p for p in sorted(SOURCE.rglob("*.py")) if "api" not in p.relative_to(SOURCE).parts)
    unread = [f"{field.kind.KIND}.{field.path}" for field in FIELDS if not is_read(field, reads)]
    assert unread == [], "nothing reads them"


def is_read(field: PlacedField, reads: Reads) -> bool:
    if field.owner in READ_BY_NAME:
        return field.attribute in READ_BY_NAME[field.owner]
    used = reads.read | (reads.written if field.kind is FleetPlan else set())
    return BEHIND_A_PROPERTY.get((field.owner, field.attribute), (field.owner, field.attribute)) in used


def the_reads(tmp_path: Path, body: str) -> set[tuple[type, str]]:
    (tmp_path / "module.py").write_text(body)
    return set(reads_of([tmp_path / "module.py"]).read)


def test_an_attribute_of_the_same_name_elsewhere_is_no_read(tmp_path: Path) -> None:
    found = the_reads(
        tmp_path,
        "from argosy.api.workloadclass import HeaderMatch, PathMatch\n"
        "def f(header: HeaderMatch, path: PathMatch, other: object) -> str:\n"
        "    return header.name + other.value\n",
    )
    assert found == {(HeaderMatch, "name")}
    assert (PathMatch, "value") not in found


def test_a_value_is_followed_through_loops_and_holders(tmp_path: Path) -> None:
    found = the_reads(
        tmp_path,
        "from argosy.api import Fleet, WorkloadClass\n"
        "class Seen:\n"
        "    fleet: Fleet\n"
        "def f(seen: Seen, classes: dict[str, WorkloadClass]) -> object:\n"
        "    for _, one in sorted(classes.items()):\n"
        "        yield [h.value for h in one.spec.match.headers]\n"
        "    yield seen.fleet.spec.gateway.port\n",
    )
    assert {(HeaderMatch, "value"), (GatewaySpec, "port")} <= found
