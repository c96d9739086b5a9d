"""A user's WorkloadClass as the mix and the SLO that the performance model is asked about.

Owns the translation of declared lengths and percentiles, and what several classes that share replicas
ask for together. Input: a WorkloadClass, or the mixes and SLOs of several. Output: a `Mix` of lengths
whose weights sum to one, and an `Slo`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from argosy.api import WorkloadClass
from argosy.api.workloadclass import Lengths, PercentileBounds
from argosy.demand.archetypes import ARCHETYPES, mix
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term


def mix_of(lengths: Lengths) -> Mix:
    """A class's lengths as a mix: an archetype's, or its table with weights that sum to one."""
    if lengths.table is None:
        assert lengths.archetype is not None
        return mix(ARCHETYPES[lengths.archetype])
    total = sum(row.weight for row in lengths.table)
    return Mix(tuple(Slice(r.prompt_tokens, r.output_tokens, r.weight / total) for r in lengths.table))


def slo_of(spec: WorkloadClass) -> Slo:
    """A class's SLO as terms, TTFT first."""
    given = ((Term.TTFT, spec.spec.slo.ttft), (Term.ITL, spec.spec.slo.itl), (Term.E2E, spec.spec.slo.e2e))
    return Slo(tuple(term for name, bounds in given if bounds is not None for term in _terms(name, bounds)))


def _terms(name: Term, bounds: PercentileBounds) -> list[SloTerm]:
    given = (
        (0.50, bounds.p50_milliseconds),
        (0.95, bounds.p95_milliseconds),
        (0.99, bounds.p99_milliseconds),
    )
    return [SloTerm(name, percentile, bound) for percentile, bound in given if bound is not None]


def mix_of_all(parts: Iterable[tuple[Mix, float]]) -> Mix:
    """The mix of several classes, each with its requests/s.

    A rate counts as the nearest power of two: a capacity is measured per mix, so rates that wander
    must not make a new mix each time. A class without requests adds nothing, unless none has any.
    """
    rate_by_mix: dict[Mix, float] = {}
    for mix_, rate_per_s in parts:
        rate_by_mix[mix_] = rate_by_mix.get(mix_, 0.0) + rate_per_s
    if len(rate_by_mix) == 1:
        return next(iter(rate_by_mix))
    if not any(rate_by_mix.values()):
        rate_by_mix = dict.fromkeys(rate_by_mix, 1.0)
    weights: dict[tuple[int, int, int], list[float]] = {}
    for mix_, rate_per_s in rate_by_mix.items():
        coarse = 2.0 ** round(math.log2(rate_per_s)) if rate_per_s > 0 else 0.0
        for piece in mix_.slices:
            lengths = (piece.prompt_tokens, piece.output_tokens, piece.cached_tokens)
            weights.setdefault(lengths, []).append(piece.weight * coarse)
    sums = {lengths: math.fsum(sorted(found)) for lengths, found in sorted(weights.items())}
    total = math.fsum(sums.values())
    return Mix(
        tuple(
            Slice(prompt, output, weight / total, cached)
            for (prompt, output, cached), weight in sums.items()
            if weight > 0
        )
    )


def strictest(slos: Iterable[Slo]) -> Slo:
    """Of each term and percentile the smallest bound that a class asks for."""
    bound_ms: dict[tuple[Term, float], float] = {}
    for slo in slos:
        for term in slo.terms:
            key = (term.term, term.percentile)
            bound_ms[key] = min(term.bound_ms, bound_ms.get(key, term.bound_ms))
    order = (Term.TTFT, Term.ITL, Term.E2E)
    named = sorted(bound_ms.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return Slo(tuple(SloTerm(term, percentile, bound) for (term, percentile), bound in named))
