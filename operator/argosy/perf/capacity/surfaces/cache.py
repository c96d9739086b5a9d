"""The surfaces of many variants: kept, built where they are missing, asked together.

Owns which surface answers for which engine, and simulating what lies outside. The store is a
mapping of bytes; a caller with several processes passes their `map`. Input: engines, mixes with
their SLOs; output: arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from argosy.arrays import Booleans, Floats
from argosy.errors import InvariantError
from argosy.perf.capacity.search import CapacitySettings, EngineModel, measure_capacity
from argosy.perf.capacity.surfaces.build import build_surface
from argosy.perf.capacity.surfaces.cells import cells
from argosy.perf.capacity.surfaces.search import capacities, stack
from argosy.perf.capacity.surfaces.store import UnusableSurface, from_bytes, to_bytes
from argosy.perf.capacity.surfaces.surface import RELATIVE_ERROR, Surface, SurfaceSettings, surface_key
from argosy.perf.protocol import Capacity
from argosy.snapshot import Mix, Slo

Build = Callable[[EngineModel], bytes]
MapBuild = Callable[[Build, Iterable[EngineModel]], Iterable[bytes]]
Progress = Callable[[int, int], None]
"""Called with the number of surfaces that are built, and of those that were missing."""


@dataclass(frozen=True, slots=True)
class CellCapacities:
    """Requests/s of every cell on every engine, shape (cells, engines); arrays of one shape.

    requests_per_s: NaN where the engine refuses the mix (longer than its context or its cache)
    simulated:      outside of the surface, so measured directly
    relative_error: of an answer (0-1): the surface's, exceeded by one in ten; 0 where simulated
    """

    requests_per_s: Floats
    simulated: Booleans
    relative_error: Floats


@dataclass(slots=True)
class SurfaceCache:
    """Surfaces by what they were made from."""

    store: MutableMapping[str, bytes]
    map_build: MapBuild = map
    progress: Progress | None = None
    settings: SurfaceSettings = field(default_factory=SurfaceSettings)

    def surfaces(self, engines: Sequence[EngineModel]) -> tuple[Surface, ...]:
        """One per engine; what is missing or damaged is built, once for engines that are alike.

        Raises InvariantError where a surface that was just built cannot be read.
        """
        keys = [surface_key(engine, self.settings) for engine in engines]
        found: dict[str, Surface] = {}
        for key in dict.fromkeys(keys):
            stored = self.store.get(key)
            surface = None if stored is None else from_bytes(stored, key)
            if isinstance(surface, Surface):
                found[key] = surface
        missing = {key: engine for key, engine in zip(keys, engines, strict=True) if key not in found}
        for key, content in zip(missing, self._built(list(missing.values())), strict=True):
            surface = from_bytes(content, key)
            if isinstance(surface, UnusableSurface):
                raise InvariantError(f"a surface that was just built is of no use: {surface.message}")
            self.store[key] = content
            found[key] = surface
        return tuple(found[key] for key in keys)

    def capacities(
        self, engines: Sequence[EngineModel], mixes: Sequence[Mix], slos: Sequence[Slo]
    ) -> CellCapacities:
        """Every mix within its SLO on every engine: one look-up, and simulations of what is outside."""
        rates = np.full((len(mixes), len(engines)), np.nan)
        outside = np.zeros(rates.shape, dtype=np.bool_)
        surfaces = self.surfaces(engines)
        # Engines behind equal front ends have the same bounds left: one look-up for them all.
        for front_end_ms in sorted({engine.front_end_ms for engine in engines}):
            columns = [c for c, engine in enumerate(engines) if engine.front_end_ms == front_end_ms]
            left = [engines[columns[0]].inside(slo) for slo in slos]
            answer = capacities(stack([surfaces[c] for c in columns]), cells(mixes, left))
            rates[:, columns], outside[:, columns] = answer.requests_per_s, answer.outside
        for cell, column in np.argwhere(outside).tolist():
            measured = measure_capacity(engines[column], mixes[cell], slos[cell], CapacitySettings())
            rates[cell, column] = measured.requests_per_s if isinstance(measured, Capacity) else np.nan
        return CellCapacities(rates, outside, np.where(outside, 0.0, RELATIVE_ERROR))

    def _built(self, engines: Sequence[EngineModel]) -> Iterator[bytes]:
        for number, content in enumerate(self.map_build(_Builder(self.settings), engines), start=1):
            if self.progress is not None:
                self.progress(number, len(engines))
            yield content


@dataclass(frozen=True, slots=True)
class _Builder:
    """Builds in whatever process it is called in: it pickles."""

    settings: SurfaceSettings

    def __call__(self, engine: EngineModel) -> bytes:
        return to_bytes(build_surface(engine, self.settings))
