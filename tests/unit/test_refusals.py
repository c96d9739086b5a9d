"""A refusal is a value that prints as its sentence, and there is one shape of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from argosy.refusals import Refused

ROOT = Path(__file__).parents[2]
SENTENCES = {"message", "reason", "sentence", "problem", "problems", "why"}
"""Fields that hold why something is so."""

NO_REFUSALS = {
    "Adoption": "the answer yes, also of a Deployment that its user took back: it serves until others do",
    "ApiError": "the body of an error as OpenAI's API defines it",
    "Drifted": "an alarm: the window was judged, and its calibration begins anew",
    "EventRecord": "a Kubernetes event",
    "Exit": "how a container ended, as the kubelet reports it",
    "InvalidObject": "carries the object's own metadata and conditions, and a problem for each field",
    "ProfileNote": "a remark about a profile that is used",
    "Said": "a condition, as a case of the faults read it",
    "TargetVerdict": "a status: it is also the answer yes",
    "Verdict": "a condition before it has a time: it is also the answer yes",
    "_NoAnswer": "what became of a request: a reading goes on without it",
}
"""Classes that look like a refusal and are none."""


class Why(StrEnum):
    TOO_LONG = "TooLong"


class TooLong(Refused[Why]):
    """One kind of refusal among several."""

    __slots__ = ()


def test_a_refusal_prints_as_its_sentence() -> None:
    assert str(Refused(Why.TOO_LONG, "the prompt has 9 tokens; at most 8 fit")) == (
        "the prompt has 9 tokens; at most 8 fit"
    )


def test_refusals_with_the_same_content_are_equal() -> None:
    assert Refused(Why.TOO_LONG, "no", ("8",)) == Refused(Why.TOO_LONG, "no", ("8",))
    assert Refused(Why.TOO_LONG, "no", ("8",)) != Refused(Why.TOO_LONG, "no")


def test_a_kind_of_refusal_is_told_apart_by_its_class() -> None:
    found = TooLong(Why.TOO_LONG, "no")
    assert isinstance(found, Refused)
    assert (str(found), found.nearest) == ("no", ())
    assert found != Refused(Why.TOO_LONG, "no")


# --- no second shape --------------------------------------------------------------------------


def sources() -> list[ast.Module]:
    files = [f for root in ("operator", "sim") for f in sorted((ROOT / root).rglob("*.py"))]
    return [ast.parse(f.read_text()) for f in files]


def classes(modules: Iterable[ast.Module]) -> Iterator[ast.ClassDef]:
    return (node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef))


def fields_of(found: ast.ClassDef) -> set[str]:
    targets = (node.target for node in found.body if isinstance(node, ast.AnnAssign))
    return {target.id for target in targets if isinstance(target, ast.Name)}


def is_dataclass(found: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in found.decorator_list)


def is_refused(found: ast.ClassDef) -> bool:
    return found.name == "Refused" or any(ast.unparse(base).startswith("Refused[") for base in found.bases)


def sides(union: ast.expr) -> list[str]:
    """The names in `A | B | None`; an optional value has one side."""
    if isinstance(union, ast.BinOp):
        return sides(union.left) + sides(union.right)
    return [] if ast.unparse(union) == "None" else [ast.unparse(union)]


def alternatives(modules: Iterable[ast.Module]) -> set[str]:
    """What functions return instead of something else."""
    nodes = (node for module in modules for node in ast.walk(module))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    annotations = (function.returns for function in functions if function.returns is not None)
    unions = (part for each in annotations for part in ast.walk(each) if isinstance(part, ast.BinOp))
    return {side for union in unions if len(sides(union)) > 1 for side in sides(union)}


def other_shapes(modules: list[ast.Module]) -> set[str]:
    """Dataclasses with a reason and a sentence, or returned instead of an answer with one of the two."""
    returned = alternatives(modules)
    return {
        found.name
        for found in classes(modules)
        if is_dataclass(found) and not is_refused(found)
        if {"reason", "message"} <= fields_of(found)
        or (found.name in returned and fields_of(found) & SENTENCES)
    }


def test_every_refusal_has_the_one_shape() -> None:
    assert other_shapes(sources()) == NO_REFUSALS.keys()


def test_a_refusal_of_another_shape_is_found() -> None:
    module = ast.parse(
        """
@dataclass(frozen=True)
class WithBoth:
    reason: str
    message: str

@dataclass(frozen=True)
class WithASentence:
    message: str

@dataclass(frozen=True)
class Note:
    message: str

@dataclass(frozen=True)
class Good(Refused[Why]):
    field: str

async def answer() -> int | WithASentence | None: ...
def other() -> tuple[Note | None, Good | str]: ...
"""
    )
    assert other_shapes([module]) == {"WithBoth", "WithASentence"}
