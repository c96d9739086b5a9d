"""The judgement of a run: figures per act, promises over the whole run.

Owns the assembly: which requests, plans and replicas count in which act. The rules are beside it:
`attribution`, `shocks` (windows, decisions, recovery), `new_replicas`, `fleet_cost`, `promises`.
Input: `Evidence`. Output: `Judgement`. Pure.

A request belongs to the act in which it arrives. One without a complete answer keeps no term of its
SLO; requests in flight on the dead node are counted apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from argosy.client.records import RequestRecord
from argosy.engine.stationarity import RunVerdict
from argosy_sim.demo.evidence import Evidence, PlanSeen
from argosy_sim.demo.judgement.attribution import act_at, dead_node
from argosy_sim.demo.judgement.fleet_cost import run_cost_rate, static_peak_cost_rate
from argosy_sim.demo.judgement.new_replicas import NewReplica, new_replicas
from argosy_sim.demo.judgement.promises import (
    Promise,
    attainment_promise,
    checked_promise,
    clean_exit_promise,
    cost_promise,
    lost_promise,
    routable_promise,
)
from argosy_sim.demo.judgement.shocks import ShockDecision, recovery_s, recovery_windows, shock_decisions
from argosy_sim.demo.story import Act, StoryClass
from argosy_sim.measures.attainment import (
    TermAttainment,
    attainment,
    attainment_by_term,
    lowest,
)
from argosy_sim.measures.cost import cost_usd
from argosy_sim.measures.intervals import Interval, TooFew
from argosy_sim.measures.percentiles import Percentiles, latency_summary


@dataclass(frozen=True, slots=True)
class ClassInAct:
    """One class in one act. Percentiles: all its completed requests, inside recovery windows too.

    terms: each term's attainment outside recovery windows, where requests in flight on the dead node
        do not count (they are counted apart)
    recovery_attainment: inside recovery windows, None without a request there
    verdict: whether the number of its requests in flight was stationary in the act
    """

    ttft_ms: Percentiles | None
    itl_ms: Percentiles | None
    e2e_ms: Percentiles | None
    terms: tuple[TermAttainment, ...]
    recovery_attainment: float | None
    verdict: RunVerdict

    @property
    def attainment(self) -> float | None:
        """The smallest share over the terms, outside recovery windows; None without a request there."""
        term = lowest(self.terms)
        return None if term is None else term.share

    @property
    def attainment_interval(self) -> Interval | TooFew | None:
        """The 95 % confidence interval of `attainment`; None where a queue grew or fell: it has none."""
        term = None if self.verdict.is_unstable else lowest(self.terms)
        return None if term is None else term.interval


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests that arrived: offered = completed + lost + lost_in_flight."""

    offered: int
    completed: int
    lost: int
    lost_in_flight: int
    retried: int


@dataclass(frozen=True, slots=True)
class ActJudgement:
    """One act's figures; None for what did not occur."""

    act: Act
    counts: RequestCounts
    classes: Mapping[str, ClassInAct]
    cost_usd: float
    static_peak_cost_usd: float
    plans: tuple[PlanSeen, ...]
    first_request_on_new_replica_s: float | None
    recovery_s: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The whole run's figures and verdicts; `trace` names the file or the archetype."""

    acts: tuple[ActJudgement, ...]
    promises: tuple[Promise, ...]
    decisions: tuple[ShockDecision, ...]
    new_replicas: tuple[NewReplica, ...]
    trace: str

    @property
    def is_kept(self) -> bool:
        """Every promise was kept and every shock decided on in time: the command's exit code."""
        return not self.broken and all(decision.is_in_time for decision in self.decisions)

    @property
    def broken(self) -> tuple[Promise, ...]:
        """The promises that were not kept."""
        return tuple(promise for promise in self.promises if not promise.kept)

    @property
    def cost_usd(self) -> float:
        """What the acts cost together."""
        return sum(act.cost_usd for act in self.acts)

    @property
    def static_peak_cost_usd(self) -> float:
        """What the static peak would have cost over the acts."""
        return sum(act.static_peak_cost_usd for act in self.acts)

    @property
    def counts(self) -> RequestCounts:
        """Requests of all acts."""
        counts = [act.counts for act in self.acts]
        return RequestCounts(
            offered=sum(c.offered for c in counts),
            completed=sum(c.completed for c in counts),
            lost=sum(c.lost for c in counts),
            lost_in_flight=sum(c.lost_in_flight for c in counts),
            retried=sum(c.retried for c in counts),
        )


def judge(evidence: Evidence) -> Judgement:
    """The figures of every act, the promises, and how soon each shock was decided on."""
    news = new_replicas(evidence)
    acts = tuple(_judge_act(evidence, act, news) for act in evidence.story.acts)
    figures = Judgement(acts, (), shock_decisions(evidence), news, evidence.trace)
    return replace(figures, promises=_promises(evidence, figures))


def _judge_act(evidence: Evidence, act: Act, news: Sequence[NewReplica]) -> ActJudgement:
    records = [r for r in evidence.requests if act_at(evidence.story, r.arrival_s) is act]
    firsts = [
        new.first_request.seconds
        for new in news
        if new.first_request.happened and act_at(evidence.story, new.ready_s) is act
    ]
    return ActJudgement(
        act=act,
        counts=_counts(evidence, records),
        classes={c.name: _class_in_act(evidence, c, records) for c in evidence.story.classes},
        cost_usd=cost_usd(run_cost_rate(evidence), act.start_s, act.end_s),
        static_peak_cost_usd=cost_usd(static_peak_cost_rate(evidence), act.start_s, act.end_s),
        plans=tuple(plan for plan in evidence.plans if act_at(evidence.story, plan.at_s) is act),
        first_request_on_new_replica_s=max(firsts, default=None),
        recovery_s=recovery_s(evidence, act),
    )


def _counts(evidence: Evidence, records: Sequence[RequestRecord]) -> RequestCounts:
    node = dead_node(evidence)
    summary = latency_summary(records)
    num_in_flight = sum(node.had_in_flight(record) for record in records)
    return RequestCounts(
        offered=summary.num_requests,
        completed=summary.num_requests - summary.num_lost,
        lost=summary.num_lost - num_in_flight,
        lost_in_flight=num_in_flight,
        retried=summary.num_retried,
    )


def _class_in_act(
    evidence: Evidence, story_class: StoryClass, records: Sequence[RequestRecord]
) -> ClassInAct:
    windows, node = recovery_windows(evidence), dead_node(evidence)
    own = [record for record in records if record.class_name == story_class.name]
    inside = [record for record in own if any(window.contains(record.arrival_s) for window in windows)]
    # Requests in flight on the dead node are counted apart: most arrived before it died, outside its
    # window, and the operator could not have kept their terms. Inside the window they stay in the
    # figure, which is reported and not promised.
    outside = [
        r
        for r in own
        if not any(window.contains(r.arrival_s) for window in windows) and not node.had_in_flight(r)
    ]
    summary = latency_summary(own)
    return ClassInAct(
        ttft_ms=summary.ttft_ms,
        itl_ms=summary.itl_ms,
        e2e_ms=summary.e2e_ms,
        terms=attainment_by_term(outside, story_class.slo),
        recovery_attainment=attainment(inside, story_class.slo),
        verdict=summary.verdict,
    )


def _promises(evidence: Evidence, figures: Judgement) -> tuple[Promise, ...]:
    counts = figures.counts
    return (
        *(
            attainment_promise(
                (story_class.name, act.act.name),
                story_class.slo,
                act.classes[story_class.name].terms,
                was_planned=act.act.rate_per_s.get(story_class.name, 0.0) > 0,
            )
            for story_class in evidence.story.classes
            if story_class.slo.terms  # a class without a term was promised nothing
            for act in figures.acts
        ),
        lost_promise(counts.offered, counts.lost, counts.lost_in_flight),
        cost_promise(evidence, figures.cost_usd, figures.static_peak_cost_usd),
        routable_promise(figures.new_replicas),
        checked_promise(evidence),
        clean_exit_promise(evidence),
    )
