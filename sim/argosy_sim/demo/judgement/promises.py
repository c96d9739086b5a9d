"""The demo's promises and whether they were kept.

Owns the bounds and the verdicts. Input: figures that `judge`, `fleet_cost` and `new_replicas`
measured. Output: `Promise`s. Pure.

A promise that was not measured counts as broken, with `measured` None, except where none was due: a
class to which an act plans no request, and a run that needed no new replica. `detail` gives the
reason in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from argosy.snapshot import Slo
from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.judgement.new_replicas import NewReplica
from argosy_sim.measures.attainment import TermAttainment

ROUTABLE_BOUND_S = 1.0
FIRST_REQUEST_BOUND_S = 2.0
JUDGED_FROM_PER_S = 5.0
"""At fewer requests/s to a cluster, when the first request comes is chance: it is only reported."""
_ROUNDING_PER_S = 1e-9
_ROUNDING_USD = 1e-9  # a fleet must not be cheaper than itself by the last digit of a sum


class PromiseKind(StrEnum):
    """What a promise is about."""

    ATTAINMENT = "attainment"
    LOST = "lost"
    COST = "cost"
    ROUTABLE = "routable"
    CHECKED = "checked"
    CLEAN_EXIT = "clean_exit"


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise, the verdict, what was measured (None: nothing) and what was promised.

    subject: what of the run it is about, from the whole to the part (class, act); empty: all of it
    """

    kind: PromiseKind
    kept: bool
    measured: float | None
    bound: float
    detail: str = ""
    subject: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        """The kind and the subject."""
        return (self.kind.value, *self.subject)

    @property
    def name(self) -> str:
        """The path as one word: `attainment/chat/steady`."""
        return "/".join(self.path)


def attainment_promise(
    subject: tuple[str, str], slo: Slo, terms: Sequence[TermAttainment], *, was_planned: bool
) -> Promise:
    """Each term against its own percentile; the figure shown is that of the term with the least slack.

    Where all terms have the same percentile, this figure is the attainment. `subject`: class and act.
    """
    kind = PromiseKind.ATTAINMENT
    strictest = max(term.percentile for term in slo.terms)
    if not terms and not was_planned:
        return Promise(kind, True, None, strictest, "the act plans no request of this class", subject)
    if not terms:
        return Promise(kind, False, None, strictest, "no request arrived outside recovery windows", subject)
    tightest = min(terms, key=lambda term: term.share - term.term.percentile)
    kept = all(term.is_kept for term in terms)
    bound = tightest.term
    detail = f"the tightest: {bound.term} {bound.bound_ms:g} ms"
    return Promise(kind, kept, tightest.share, bound.percentile, detail, subject)


def lost_promise(num_offered: int, num_lost: int, num_lost_in_flight: int) -> Promise:
    """No request is lost; those in flight on the dead node are counted apart."""
    if num_offered == 0:
        return Promise(PromiseKind.LOST, False, None, 0.0, "no request was offered")
    detail = f"of {num_offered}; {num_lost_in_flight} more in flight on the dead node"
    return Promise(PromiseKind.LOST, num_lost == 0, float(num_lost), 0.0, detail)


def cost_promise(evidence: Evidence, run_usd: float, static_peak_usd: float) -> Promise:
    """The run costs less than the static peak; an equal cost breaks the promise."""
    if not evidence.replicas:
        return Promise(PromiseKind.COST, False, None, static_peak_usd, "no replica was seen")
    detail = "the whole run against the static peak"
    is_less = run_usd < static_peak_usd - _ROUNDING_USD
    return Promise(PromiseKind.COST, is_less, run_usd, static_peak_usd, detail)


def routable_promise(news: Sequence[NewReplica]) -> Promise:
    """Routable within 1 s of Ready; a first request within 2 s where the class sends enough of them.

    The figure is the longest time until routable; where only a first request came late, that time.
    """
    delays = [new for new in news if new.routable.is_known_within(ROUTABLE_BOUND_S)]
    if not delays:
        detail = "no replica became Ready after act 1 began, or only just before the end"
        return Promise(PromiseKind.ROUTABLE, True, None, ROUTABLE_BOUND_S, detail)
    slowest = max(delays, key=lambda new: new.routable.seconds)
    late = _latest_first_request(news)
    if not slowest.routable.exceeds(ROUTABLE_BOUND_S) and late is not None:
        detail = f"{late.replica.pod}: {_first_request_words(late)}"
        return Promise(PromiseKind.ROUTABLE, False, late.first_request.seconds, FIRST_REQUEST_BOUND_S, detail)
    kept = not slowest.routable.exceeds(ROUTABLE_BOUND_S)
    never = "" if slowest.routable.happened else " was never counted healthy"
    detail = f"the slowest of {len(delays)}: {slowest.replica.pod}{never}"
    return Promise(PromiseKind.ROUTABLE, kept, slowest.routable.seconds, ROUTABLE_BOUND_S, detail)


def _latest_first_request(news: Sequence[NewReplica]) -> NewReplica | None:
    late = [
        new
        for new in news
        if new.offered_per_s >= JUDGED_FROM_PER_S - _ROUNDING_PER_S
        and new.first_request.exceeds(FIRST_REQUEST_BOUND_S)
    ]
    return max(late, key=lambda new: new.first_request.seconds, default=None)


def _first_request_words(new: NewReplica) -> str:
    if new.first_request.happened:
        return f"its first request came late, at {new.offered_per_s:.1f} requests/s to its cluster"
    return f"no request came, at {new.offered_per_s:.1f} requests/s to its cluster"


def checked_promise(evidence: Evidence) -> Promise:
    """Every applied plan passed the independent check."""
    applied = [plan for plan in evidence.plans if plan.is_applied]
    if not applied:
        return Promise(PromiseKind.CHECKED, False, None, 0.0, "no plan was applied")
    unchecked = [plan.revision for plan in applied if not plan.passed_check]
    named = f": {', '.join(map(str, unchecked))}" if unchecked else ""
    detail = f"of {len(applied)} applied plans without a passed check{named}"
    return Promise(PromiseKind.CHECKED, not unchecked, float(len(unchecked)), 0.0, detail)


def clean_exit_promise(evidence: Evidence) -> Promise:
    """Nothing is left running."""
    left = evidence.left_running
    detail = f"left running: {', '.join(left)}" if left else "nothing left running"
    return Promise(PromiseKind.CLEAN_EXIT, not left, float(len(left)), 0.0, detail)
