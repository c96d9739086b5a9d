"""A user's WorkloadClass as the mix and the SLO that the performance model is asked about.

Owns the translation of declared lengths and percentiles. Input: a WorkloadClass. Output: a `Mix` of
lengths whose weights sum to one, and an `Slo`.
"""

from __future__ import annotations

from argosy.api import WorkloadClass
from argosy.api.workloadclass import Lengths, Percentiles
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


def _terms(name: Term, bounds: Percentiles) -> list[SloTerm]:
    given = (
        (0.50, bounds.p50_milliseconds),
        (0.95, bounds.p95_milliseconds),
        (0.99, bounds.p99_milliseconds),
    )
    return [SloTerm(name, percentile, bound) for percentile, bound in given if bound is not None]
