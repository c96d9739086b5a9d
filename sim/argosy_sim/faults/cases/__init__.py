"""Every case, in an order that leaves one stage in use: those that do not leave it at rest come last."""

from __future__ import annotations

from argosy.errors import SpecError
from argosy_sim.faults.case import Case
from argosy_sim.faults.cases import changes, objects, plans, pods, processes

COSTS_A_NODE = ("B8",)
_FOUND = (*pods.CASES, *changes.CASES, *plans.CASES, *processes.CASES, *objects.CASES)
CASES: tuple[Case, ...] = tuple(
    sorted(_FOUND, key=lambda case: (not case.leaves_rest, case.id in COSTS_A_NODE))
)

ELSEWHERE = {
    "B2": "pods refused by a quota or a policy: belongs to what real clusters are like",
    "B21": "a LimitRange's limits: belongs to what real clusters are like",
}
"""Rows of the review that are no case here, and why."""


def chosen(only: str | None) -> tuple[Case, ...]:
    """The cases whose ids are listed (`B1,P7`), in the order above; all where None.

    Raises `SpecError` for an id that is no case's.
    """
    if only is None:
        return CASES
    wanted = [part.strip().upper() for part in only.split(",") if part.strip()]
    unknown = sorted(set(wanted) - {case.id for case in CASES})
    if unknown or not wanted:
        known = ", ".join(case.id for case in CASES)
        raise SpecError(f"{', '.join(unknown) or only!r} is no case; there are {known}", "--only")
    return tuple(case for case in CASES if case.id in wanted)
