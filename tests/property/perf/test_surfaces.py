"""What must hold of surfaces whatever is asked: order in bound, percentile, terms, and GPU speed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import mixes_of

from argosy.engine import EngineLimits, StepCoefficients
from argosy.perf.capacity.search import EngineModel
from argosy.perf.capacity.surfaces.build import build_surface, speed_ms
from argosy.perf.capacity.surfaces.cells import cells
from argosy.perf.capacity.surfaces.search import SurfaceStack, capacities, stack
from argosy.perf.capacity.surfaces.surface import Surface, SurfaceSettings
from argosy.snapshot import Mix, Slo, SloTerm, Term

LIMITS = EngineLimits(
    max_num_seqs=64, max_num_batched_tokens=2048, kv_blocks=6000, block_size=16, max_model_len=16384
)
BASE = StepCoefficients(
    22.6, 0.0466, 4.87, 0.0231, 0.1, 1.9e-4, 9.6e-3, 0.16, 1.2e-3, 2.7e-6, 0.98, 1.34, 0.046
)
QUICK = SurfaceSettings(num_requests=120)
BOUNDS_MS = {Term.TTFT: (30.0, 10_000.0), Term.ITL: (15.0, 400.0), Term.E2E: (300.0, 120_000.0)}

mixes = mixes_of((60, 6000), (5, 1200))
terms = st.sampled_from(list(Term))
percentiles = st.floats(0.5, 0.99)
shares = st.floats(0, 1)


def bound_ms(term: Term, share: float) -> float:
    low, high = BOUNDS_MS[term]
    return float(low * (high / low) ** share)


@cache
def surface_of(coefficients: StepCoefficients) -> Surface:
    return build_surface(EngineModel(LIMITS, coefficients), QUICK)


def rates(stacked: SurfaceStack, mix: Mix, *slos: Slo) -> list[list[float]]:
    """Per SLO and engine; asks only for mixes that the surface holds."""
    answer = capacities(stacked, cells([mix] * len(slos), slos))
    assume(not answer.outside.any())
    found: list[list[float]] = answer.requests_per_s.tolist()
    return found


@settings(max_examples=200, deadline=None)
@given(mix=mixes, term=terms, percentile=percentiles, strict=shares, lax=shares)
def test_a_laxer_bound_never_lowers_the_capacity(
    mix: Mix, term: Term, percentile: float, strict: float, lax: float
) -> None:
    slos = [Slo((SloTerm(term, percentile, bound_ms(term, share)),)) for share in sorted((strict, lax))]
    (at_strict,), (at_lax,) = rates(stack([surface_of(BASE)]), mix, *slos)
    assert at_strict <= at_lax


@settings(max_examples=200, deadline=None)
@given(mix=mixes, first=terms, second=terms, percentile=st.floats(0.5, 0.9), at=st.tuples(shares, shares))
def test_a_further_term_or_a_higher_percentile_never_raises_the_capacity(
    mix: Mix, first: Term, second: Term, percentile: float, at: tuple[float, float]
) -> None:
    term = SloTerm(first, percentile, bound_ms(first, at[0]))
    more = SloTerm(second, 0.9, bound_ms(second, at[1]))
    higher = replace(term, percentile=percentile + 0.09)
    slos = (Slo((term,)), Slo((term, more)), Slo((higher,)))
    (alone,), (with_more,), (at_higher,) = rates(stack([surface_of(BASE)]), mix, *slos)
    assert with_more <= alone
    assert at_higher <= alone


@settings(max_examples=200, deadline=None)
@given(mix=mixes, term=terms, percentile=percentiles, at=shares)
def test_a_kept_slo_is_kept_at_every_smaller_load(mix: Mix, term: Term, percentile: float, at: float) -> None:
    """Quantiles never fall with the load: the tables, blended for this mix, say so at all loads."""
    surface = surface_of(BASE)
    slo = Slo((SloTerm(term, percentile, bound_ms(term, at)),))
    (capacity,), (most,) = rates(stack([surface]), mix, slo, Slo(()))
    assert 0 <= capacity <= most
    # With all loads but the lowest ones gone, nothing that was carried gets lost.
    for keep in range(1, surface.wait_roots.shape[1]):
        flat = replace(
            surface,
            wait_roots=_flat_beyond(surface.wait_roots, keep),
            gap_roots=_flat_beyond(surface.gap_roots, keep),
        )
        ((easier,),) = rates(stack([flat]), mix, slo)
        assert easier >= capacity


def _flat_beyond(roots: np.ndarray, load: int) -> np.ndarray:  # type: ignore[type-arg]
    """As if times did not grow beyond that load."""
    return np.concatenate(
        [roots[:, :load], np.repeat(roots[:, load : load + 1], roots.shape[1] - load, 1)], 1
    )


# Of weights, arithmetic, attention and host: a few, because each needs a surface.
factors = st.sampled_from(
    [
        (1.0, 1.0, 1.0, 1.0),
        (0.99, 1.0, 1.0, 1.0),
        (1.0, 0.97, 1.0, 1.0),
        (1.0, 1.0, 0.8, 1.0),
        (1.0, 1.0, 1.0, 0.3),
        (0.95, 0.9, 0.9, 1.0),
        (0.3, 0.25, 0.2, 1.0),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    mix=mixes,
    factor=factors,
    term=terms,
    percentile=percentiles,
    at=shares,
)
def test_a_faster_gpu_never_carries_less(
    mix: Mix, factor: tuple[float, float, float, float], term: Term, percentile: float, at: float
) -> None:
    """Faster in weights, arithmetic, attention and on the host, each by a factor of its own."""
    weights, arithmetic, attention, host = factor
    k = BASE
    faster = replace(
        k, wn=k.wn * weights, f=k.f * arithmetic, c1=k.c1 * arithmetic,
        a0=k.a0 * attention, a1=k.a1 * attention, a2=k.a2 * attention,
        b0=k.b0 * attention, b1=k.b1 * attention, b2=k.b2 * attention, c0=k.c0 * host, cb=k.cb * host,
    )  # fmt: skip
    assert np.all(speed_ms(EngineModel(LIMITS, faster)) <= speed_ms(EngineModel(LIMITS, BASE)))
    stacked = stack([surface_of(BASE), surface_of(faster)])
    ((slow, fast),) = rates(stacked, mix, Slo((SloTerm(term, percentile, bound_ms(term, at)),)))
    assert slow <= fast
