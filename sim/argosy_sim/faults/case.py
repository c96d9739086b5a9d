"""What a case is, and its result.

Owns `Case`, with what was measured before, and `Result`. A case disturbs a `World`; what follows is recorded
for every case alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from argosy_sim.faults.outcome import Judgement, Outcome
from argosy_sim.faults.picture import Picture
from argosy_sim.faults.world import World

BEFORE_COMMIT = "97b7bbf"
"""The commit at which every `Before` was measured by hand, on the same fleet."""


@dataclass(frozen=True, slots=True)
class Before:
    """What was measured at `BEFORE_COMMIT`; None: not recorded. `recovery`: in words, as it was noted."""

    lost: int | None
    of: int | None
    recovery: str
    revisions: int | None


async def nothing(world: World) -> None:
    """No preparation."""
    del world


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    prepare: what must be so before; not recorded
    disturb: what happens, its taking back included; records begin before it
    recovered: whether the world is as it should be after it
    judge: what must hold, besides recovery within `bound_s` after the disturbance has ended
    rates: requests/s by class while it runs; none: no load
    leaves_rest: False: the stage is not used for another case
    in_tests: whether it belongs to the fast part that the tests run
    """

    id: str
    words: str
    before: Before
    disturb: Callable[[World], Awaitable[None]]
    judge: Callable[[Outcome], Iterable[Judgement]]
    recovered: Callable[[Picture], bool] = Picture.is_whole
    prepare: Callable[[World], Awaitable[None]] = nothing
    bound_s: float = 60.0
    rates: Mapping[str, float] = field(default_factory=lambda: {"chat": 5.0, "batch": 0.2})
    leaves_rest: bool = True
    in_tests: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A case that was run. `error`: why it could not be carried out; its judgements are empty then."""

    case: Case
    outcome: Outcome | None
    judgements: tuple[Judgement, ...]
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether everything that must hold does."""
        return not self.error and all(judgement.holds for judgement in self.judgements)


def judged(case: Case, outcome: Outcome) -> Result:
    """Judge an outcome: recovery first, then what the case asks for."""
    took = "" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s"
    recovered = Judgement(
        f"the world is whole again at most {case.bound_s:g} s after the fault has ended",
        outcome.recovery_s is not None,
        took or "it is not",
    )
    return Result(case, outcome, (recovered, *case.judge(outcome)))
