"""How fast a variant is, what fits, and how much one replica carries.

Each name is imported when it is first used: the catalogue alone answers completion and refusals, without the
arrays and the solver that capacities need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argosy.perf.capacity.search import CapacitySettings, EngineModel, measure_capacity
    from argosy.perf.catalogue import Gpu, Model, architecture_from_config, find_gpu, find_model, gpus, models
    from argosy.perf.footprint.memory import engine_limits, load_delay_s
    from argosy.perf.model import CachedCapacity, LibraryPerfModel
    from argosy.perf.protocol import (
        Capacity,
        Fits,
        OutOfRange,
        OutOfRangeReason,
        PerfModel,
        TooLarge,
    )
    from argosy.perf.shipped import shipped_library

_MODULE_OF = {
    "CachedCapacity": "model",
    "Capacity": "protocol",
    "CapacitySettings": "capacity.search",
    "EngineModel": "capacity.search",
    "Fits": "protocol",
    "Gpu": "catalogue",
    "LibraryPerfModel": "model",
    "Model": "catalogue",
    "OutOfRange": "protocol",
    "OutOfRangeReason": "protocol",
    "PerfModel": "protocol",
    "TooLarge": "protocol",
    "architecture_from_config": "catalogue",
    "engine_limits": "footprint.memory",
    "find_gpu": "catalogue",
    "find_model": "catalogue",
    "gpus": "catalogue",
    "load_delay_s": "footprint.memory",
    "measure_capacity": "capacity.search",
    "models": "catalogue",
    "shipped_library": "shipped",
}

__all__ = [
    "CachedCapacity",
    "Capacity",
    "CapacitySettings",
    "EngineModel",
    "Fits",
    "Gpu",
    "LibraryPerfModel",
    "Model",
    "OutOfRange",
    "OutOfRangeReason",
    "PerfModel",
    "TooLarge",
    "architecture_from_config",
    "engine_limits",
    "find_gpu",
    "find_model",
    "gpus",
    "load_delay_s",
    "measure_capacity",
    "models",
    "shipped_library",
]


def __getattr__(name: str) -> Any:
    """Raises AttributeError for a name that the package does not offer."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
