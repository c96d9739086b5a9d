"""How fast a variant is, what fits, and how much one replica carries."""

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
