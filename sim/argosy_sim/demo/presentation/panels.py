"""The demo's plots: what each shows, in which style, and its description for readers who cannot see it.

Owns the choice of plots and of their layers; `report.plots` draws them. Input: `Evidence`. Output:
`PlotGroup`s with one `Backdrop`. Pure.

Styles: `c0`-`c5` are the palette's colours; classes take the first ones, pools those after them. A
variant has its pool's colour, a pool's further variants the next free ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from argosy.client.records import RequestRecord
from argosy.snapshot import SloTerm, Term
from argosy_sim.demo.evidence import Evidence
from argosy_sim.demo.judgement.attribution import dead_node
from argosy_sim.demo.judgement.fleet_cost import run_cost_rate, static_peak_cost_rate
from argosy_sim.demo.judgement.shocks import recovery_windows, shocking_acts
from argosy_sim.demo.presentation.series import planned_rate, replica_states, share_bins
from argosy_sim.demo.story import StoryClass
from argosy_sim.measures.over_time import Rolling, arrival_rate, rolling_percentiles
from argosy_sim.measures.steps import Steps
from argosy_sim.report import wording
from argosy_sim.report.page import PlotGroup
from argosy_sim.report.plots import (
    Axis,
    Backdrop,
    Bar,
    Bars,
    Bound,
    Labels,
    Line,
    Marks,
    Moment,
    Panel,
    Point,
)

NUM_COLOURS = 6
_EARLIEST_S = -40.0
_LOG_FROM = 4.0
"""From this multiple of its bound on, a latency would flatten all below it: the axis turns logarithmic."""
_NAMES_APART_S = 14.0


def backdrop(evidence: Evidence) -> Backdrop:
    """The time shown: from the first plan or pod (at most 40 s before act 1) to the end."""
    before = [plan.at_s for plan in evidence.plans] + [replica.bound_s for replica in evidence.replicas]
    earliest_s = min([0.0, *(at_s for at_s in before if math.isfinite(at_s))])
    return Backdrop(
        start_s=max(_EARLIEST_S, math.floor(earliest_s / 10) * 10.0),
        end_s=evidence.story.duration_s,
        events=tuple(
            Moment(act.start_s, act.shock.value, f"{act.shock.value} at {act.start_s:g} s")
            for act in shocking_acts(evidence)
        ),
        markers=tuple(
            Moment(
                plan.at_s,
                str(plan.revision),
                f"revision {plan.revision} at {plan.at_s:.1f} s: {plan.trigger}",
            )
            for plan in evidence.plans
        ),
        windows=tuple((window.start_s, window.end_s) for window in recovery_windows(evidence)),
    )


def groups(evidence: Evidence) -> tuple[PlotGroup, ...]:
    """Every plot of the page, in order."""
    pools = sorted({replica.pool for replica in evidence.replicas})
    return (
        PlotGroup("story", "Story", "", (_story(evidence),)),
        PlotGroup(
            "rate",
            "Offered rate",
            "What arrived, in bins of 5 s; dashed: what the story asks for.",
            tuple(_rate(evidence, c, index) for index, c in enumerate(evidence.story.classes)),
        ),
        PlotGroup(
            "replicas",
            "Replicas per pool",
            "Bound to a node and paid for: loading, ready, and draining or out of rotation.",
            tuple(_replicas(evidence, pool) for pool in pools),
        ),
        PlotGroup(
            "cost", "Cost per hour", f"Static peak: {evidence.static_peak.description}.", (_cost(evidence),)
        ),
        *_latency_groups(evidence),
        PlotGroup(
            "shares",
            "Envoy's shares per variant",
            "Where Envoy sent each class's requests. A gap is a bin without a request.",
            tuple(_shares(evidence, c) for c in evidence.story.classes),
        ),
    )


def colour_by_pool(evidence: Evidence) -> dict[str, str]:
    """A pool's style."""
    pools = sorted({replica.pool for replica in evidence.replicas})
    first = len(evidence.story.classes)
    return {pool: _colour(first + index) for index, pool in enumerate(pools)}


def colour_by_variant(evidence: Evidence) -> dict[str, str]:
    """A variant's style; a variant without a replica has a style of its own too."""
    by_pool = colour_by_pool(evidence)
    pool_by_variant = {replica.variant: replica.pool for replica in evidence.replicas}
    sampled = {v for s in evidence.shares for by_variant in s.by_class.values() for v in by_variant}
    free = len(evidence.story.classes) + len(by_pool)
    styles: dict[str, str] = {}
    for variant in sorted(sampled | set(pool_by_variant)):
        of_pool = by_pool.get(pool_by_variant.get(variant, ""), "")
        if of_pool and of_pool not in styles.values():
            styles[variant] = of_pool
        else:
            styles[variant] = _colour(free)
            free += 1
    return styles


def _colour(index: int) -> str:
    return f"c{index % NUM_COLOURS}"


def _story(evidence: Evidence) -> Panel:
    acts = evidence.story.acts
    bars = tuple(
        Bar(act.start_s, act.end_s, 0.0, 1.0, f"{act.name}: {act.start_s:g}-{act.end_s:g} s") for act in acts
    )
    named = ", ".join(f"{act.name} from {act.start_s:g} s" for act in acts)
    planned = ", ".join(f"{plan.revision} at {plan.at_s:.1f} s" for plan in evidence.plans)
    return Panel(
        key="story",
        title="Acts and plan revisions",
        unit="seconds from act 1",
        description=f"Acts: {named}. Plan revisions: {planned or 'none'}.",
        layers=(
            Bars("", bars, "frame"),
            Labels(tuple(((act.start_s + act.end_s) / 2, 0.62, act.name) for act in acts), "frame-name"),
            Labels(tuple(_plan_names(evidence)), "marker-name"),
        ),
        axis=Axis(0.0, 1.0, has_ticks=False),
        height_px=112,
    )


def _plan_names(evidence: Evidence) -> Iterable[tuple[float, float, str]]:
    """Revision numbers above their marks, on two levels where they are close together."""
    previous_s, level = -math.inf, 0
    for plan in sorted(evidence.plans, key=lambda plan: plan.at_s):
        if plan.at_s >= _EARLIEST_S:
            level = (level + 1) % 2 if plan.at_s - previous_s < _NAMES_APART_S else 0
            yield plan.at_s, 0.16 + 0.19 * level, str(plan.revision)
            previous_s = plan.at_s


def _rate(evidence: Evidence, story_class: StoryClass, index: int) -> Panel:
    records = [record for record in evidence.requests if record.class_name == story_class.name]
    arrived = arrival_rate(records, evidence.story.duration_s)
    planned = planned_rate(evidence.story, story_class.name)
    node = dead_node(evidence)
    lost = [record for record in records if record.is_lost]
    apart = [record for record in lost if node.had_in_flight(record)]
    marks = (
        _marks("lost", [record for record in lost if record not in apart], "cross"),
        _marks("lost in flight on the dead node", apart, "faint-cross"),
    )
    highest = [value for steps in (arrived, planned) for _, value in steps.points]
    return Panel(
        key=f"rate-{index}",
        title=story_class.name,
        unit="requests/s",
        description=f"{len(records)} requests of {story_class.name}, {len(lost)} without a complete answer; "
        f"at most {max(highest):.1f} requests/s.",
        layers=(
            Line("the story", _stairs(planned, evidence), f"{_colour(index)} planned"),
            Line("arrived", _stairs(arrived, evidence), _colour(index)),
            *(layer for layer in marks if layer.points),
        ),
        axis=Axis.up_to(highest, room=1.25),
        height_px=150,
    )


def _marks(label: str, records: Sequence[RequestRecord], style: str) -> Marks:
    return Marks(label, tuple((r.arrival_s, f"{r.id}: {label}, {r.outcome}") for r in records), style)


def _replicas(evidence: Evidence, pool: str) -> Panel:
    style = colour_by_pool(evidence)[pool]
    states = replica_states(evidence, pool)
    stacked = (("ready", states.ready, style), ("loading", states.loading, f"{style} pale"),
               ("draining", states.draining, "grey"))  # fmt: skip
    edges = sorted({at_s for _, steps, _ in stacked for at_s, _ in steps.points})
    edges = sorted({*edges, evidence.story.duration_s})
    bars: dict[str, list[Bar]] = {label: [] for label, _, _ in stacked}
    highest = 0.0
    for left, right in pairwise(edges):
        low = 0.0
        for label, steps, _ in stacked:
            if num := steps.at(left):
                note = f"{num:.0f} {label} of {pool}, {left:.1f}-{right:.1f} s"
                bars[label].append(Bar(left, right, low, low + num, note))
                low += num
        highest = max(highest, low)
    return Panel(
        key=f"replicas-{pool}",
        title=pool,
        unit="replicas",
        description=f"At most {highest:.0f} replicas of pool {pool} bound at once.",
        layers=tuple(Bars(label, tuple(bars[label]), kind) for label, _, kind in stacked if bars[label]),
        axis=replace(Axis.up_to([highest], room=1.3), is_whole=True),
        height_px=150,
    )


def _cost(evidence: Evidence) -> Panel:
    rate, static = run_cost_rate(evidence), static_peak_cost_rate(evidence)
    shown = [
        value
        for steps in (rate, static)
        for _, _, value in steps.pieces(_EARLIEST_S, evidence.story.duration_s)
    ]
    return Panel(
        key="cost",
        title="GPUs bound to engine pods",
        unit="USD per hour",
        description=f"At most {wording.usd_per_hour(max(shown))}; static peak at first "
        f"{wording.usd_per_hour(static.at(0.0))}.",
        layers=(
            Bars("", tuple(_under(rate, evidence)), "area"),
            Line("this run", _stairs(rate, evidence), "strong"),
            Line("static peak", _stairs(static, evidence), "reference"),
        ),
        axis=Axis.up_to(shown, room=1.2),
    )


def _under(steps: Steps, evidence: Evidence) -> Iterable[Bar]:
    for left, right, value in steps.pieces(_EARLIEST_S, evidence.story.duration_s):
        if value > 0:
            yield Bar(
                left, right, 0.0, value, f"{wording.usd_per_hour(value)} from {left:.1f} to {right:.1f} s"
            )


def _stairs(steps: Steps, evidence: Evidence) -> tuple[Point, ...]:
    """The corners of a step function, from where it first holds."""
    first = [at_s for at_s, _ in steps.points[:1]]
    start_s = max([_EARLIEST_S, *first])
    start_s = max(start_s, backdrop(evidence).start_s)
    pieces = steps.pieces(start_s, evidence.story.duration_s)
    return tuple((at_s, value) for left, right, value in pieces for at_s in (left, right))


def _latency_groups(evidence: Evidence) -> Iterable[PlotGroup]:
    names = {Term.TTFT: "Time to first token", Term.ITL: "Time between tokens", Term.E2E: "Whole answer"}
    for term, name in names.items():
        panels = tuple(
            _latency(evidence, story_class, index, term)
            for index, story_class in enumerate(evidence.story.classes)
            if term is not Term.E2E or story_class.slo.bounds_ms(term)
        )
        if panels:
            text = "Percentiles of completed requests, by arrival, over 5 s around each second."
            if term is Term.ITL:
                text += " A request's value is its mean gap."
            yield PlotGroup(term.value.lower(), f"{name} ({term})", text, panels)


def _latency(evidence: Evidence, story_class: StoryClass, index: int, term: Term) -> Panel:
    records = [record for record in evidence.requests if record.class_name == story_class.name]
    rolling = rolling_percentiles(records, term, evidence.story.duration_s)
    bounds = [t for t in story_class.slo.terms if t.term is term]
    highest_ms = [r.percentiles.p95 for r in rolling if r.percentiles]
    unit_ms = 1000.0 if max([*highest_ms, *(b.bound_ms for b in bounds)], default=0.0) >= 1000 else 1.0
    axis = _latency_axis(rolling, bounds, unit_ms)
    return Panel(
        key=f"{term.value.lower()}-{index}",
        title=story_class.name,
        unit=("seconds" if unit_ms > 1 else "milliseconds") + (", logarithmic" if axis.is_log else ""),
        description=f"{term} of {story_class.name}: highest p95 of a window "
        f"{wording.milliseconds(max(highest_ms, default=None))}; "
        + (f"promised: {', '.join(map(_bound_name, bounds))}." if bounds else "nothing promised."),
        layers=(
            Line("p50", _values(rolling, "p50", unit_ms), f"{_colour(index)} median"),
            Line("p95", _values(rolling, "p95", unit_ms), _colour(index)),
            *(Bound(_bound_name(bound), bound.bound_ms / unit_ms) for bound in bounds),
        ),
        axis=axis,
    )


def _values(rolling: Sequence[Rolling], percentile: str, unit_ms: float) -> tuple[Point, ...]:
    return tuple(
        (r.at_s, None if r.percentiles is None else getattr(r.percentiles, percentile) / unit_ms)
        for r in rolling
    )


def _latency_axis(rolling: Sequence[Rolling], bounds: Sequence[SloTerm], unit_ms: float) -> Axis:
    p95s = [r.percentiles.p95 / unit_ms for r in rolling if r.percentiles]
    p50s = [r.percentiles.p50 / unit_ms for r in rolling if r.percentiles]
    promised = [bound.bound_ms / unit_ms for bound in bounds]
    if not promised or max(p95s, default=0.0) < _LOG_FROM * max(promised):
        return Axis.up_to([*p95s, *promised], room=1.15)
    lowest = min([value for value in (*p50s, *promised) if value > 0])
    # At least one power of ten lies inside, so the axis has a tick.
    return Axis(10 ** math.floor(math.log10(lowest)), max(p95s) * 1.3, is_log=True)


def _bound_name(bound: SloTerm) -> str:
    return f"SLO p{bound.percentile * 100:g} ≤ {wording.bound_ms(bound.bound_ms)}"


def _shares(evidence: Evidence, story_class: StoryClass) -> Panel:
    styles = colour_by_variant(evidence)
    bins = share_bins(evidence, story_class.name)
    bars: dict[str, list[Bar]] = {}
    sums: dict[str, int] = {}
    for of_bin in bins:
        total, low = sum(of_bin.requests.values()), 0.0
        for variant, num in sorted(of_bin.requests.items()):
            high = low + 100 * num / total
            note = f"{num} of {total} to {variant}, {of_bin.start_s:g}-{of_bin.end_s:g} s"
            bars.setdefault(variant, []).append(Bar(of_bin.start_s, of_bin.end_s, low, high, note))
            sums[variant] = sums.get(variant, 0) + num
            low = high
    counted = ", ".join(f"{num} to {variant}" for variant, num in sorted(sums.items()))
    length = f", bins of {bins[0].end_s - bins[0].start_s:g} s" if bins else ""
    return Panel(
        key=f"shares-{story_class.name}",
        title=story_class.name,
        unit=f"% of requests{length}",
        description=f"Requests of {story_class.name} by variant: {counted or 'none was counted'}.",
        layers=tuple(
            Bars(variant, tuple(of), f"{styles[variant]} share") for variant, of in sorted(bars.items())
        ),
        axis=Axis(0.0, 100.0),
        height_px=140,
    )
