"""The cache of surfaces: built once, kept, mended, and never silent about what it cannot look up."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from argosy.engine import EngineLimits, StepCoefficients
from argosy.perf.capacity.search import CapacitySettings, EngineModel, measure_capacity
from argosy.perf.capacity.surfaces.cache import Build, SurfaceCache
from argosy.perf.capacity.surfaces.surface import SurfaceSettings
from argosy.perf.protocol import Capacity
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term

FAST = EngineModel(
    EngineLimits(64, 2048, 4000, 16, 8192),
    StepCoefficients(6.3, 0.0107, 4.87, 0.0096, 0.1, 4.2e-5, 2.5e-3, 0.1, 5e-4, 8e-7, 0.98, 1.34, 0.046),
)
SLOW = EngineModel(
    EngineLimits(64, 2048, 4000, 16, 8192),
    StepCoefficients(12.6, 0.0214, 4.87, 0.0192, 0.2, 8.4e-5, 5e-3, 0.2, 1e-3, 1.6e-6, 0.98, 2.68, 0.092),
)
SETTINGS = SurfaceSettings(num_requests=400)
CHAT = Mix((Slice(512, 128, 0.5), Slice(1024, 192, 0.5)))
TINY = Mix((Slice(8, 4, 1.0),))
LONG = Mix((Slice(9000, 100, 1.0),))
SLO = Slo((SloTerm(Term.TTFT, 0.95, 1000), SloTerm(Term.ITL, 0.95, 60)))


class Counting:
    """Builds in this process and remembers for whom."""

    def __init__(self) -> None:
        self.built: list[EngineModel] = []

    def __call__(self, build: Build, engines: Iterable[EngineModel]) -> Iterable[bytes]:
        for engine in engines:
            self.built.append(engine)
            yield build(engine)


@pytest.fixture(scope="module")
def store() -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    SurfaceCache(kept, settings=SETTINGS).surfaces([FAST, SLOW])
    return kept


def test_a_surface_is_built_once_and_progress_is_told(store: dict[str, bytes]) -> None:
    told: list[tuple[int, int]] = []
    counting, kept = Counting(), dict(list(store.items())[:1])
    cache = SurfaceCache(kept, counting, lambda done, of: told.append((done, of)), SETTINGS)
    first = cache.surfaces([FAST, SLOW, SLOW])
    assert (counting.built, told) == ([SLOW], [(1, 1)])
    assert first[1].key == first[2].key
    cache.surfaces([SLOW, FAST])
    assert counting.built == [SLOW]
    assert kept == store


def test_a_damaged_surface_is_built_again(store: dict[str, bytes]) -> None:
    kept, counting = dict(store), Counting()
    damaged = next(iter(kept))
    kept[damaged] = kept[damaged][:-7]
    SurfaceCache(kept, counting, settings=SETTINGS).surfaces([FAST, SLOW])
    assert counting.built == [FAST]
    assert kept == store


def test_what_is_inside_is_looked_up_near_to_its_simulation(store: dict[str, bytes]) -> None:
    answer = SurfaceCache(dict(store), settings=SETTINGS).capacities([FAST, SLOW], [CHAT], [SLO])
    measured = [measure_capacity(engine, CHAT, SLO, CapacitySettings()) for engine in (FAST, SLOW)]
    assert not answer.simulated.any()
    rates = [found.requests_per_s for found in measured if isinstance(found, Capacity)]
    # A surface of 400 requests a node is coarse; the stated error is one of 4,000.
    assert answer.requests_per_s[0] == pytest.approx(rates, rel=0.2)
    assert np.all(answer.relative_error > 0)


def test_what_is_outside_is_simulated_and_what_is_refused_is_no_number(store: dict[str, bytes]) -> None:
    cache = SurfaceCache(dict(store), settings=SETTINGS)
    answer = cache.capacities([FAST], [CHAT, TINY, LONG], [SLO, SLO, SLO])
    assert answer.simulated[:, 0].tolist() == [False, True, True]
    direct = measure_capacity(FAST, TINY, SLO, CapacitySettings())
    assert isinstance(direct, Capacity)
    assert answer.requests_per_s[1, 0] == direct.requests_per_s
    assert answer.relative_error[1, 0] == 0
    assert np.isnan(answer.requests_per_s[2, 0])
