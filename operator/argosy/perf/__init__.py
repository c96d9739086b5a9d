"""How fast a variant is, what fits, and how much one replica carries."""

from argosy.perf.capacity import CapacitySettings, Engine, measure_capacity
from argosy.perf.catalogue import GPUS, MODELS, Gpu, ModelFacts, find_gpu, find_model
from argosy.perf.memory import engine_limits, load_delay_s
from argosy.perf.model import CachedCapacity, TablePerfModel
from argosy.perf.protocol import (
    Capacity,
    Fits,
    OutOfRange,
    OutOfRangeReason,
    PerfModel,
    TooLarge,
)
from argosy.perf.shipped import shipped_tables

__all__ = [
    "GPUS",
    "MODELS",
    "CachedCapacity",
    "Capacity",
    "CapacitySettings",
    "Engine",
    "Fits",
    "Gpu",
    "ModelFacts",
    "OutOfRange",
    "OutOfRangeReason",
    "PerfModel",
    "TablePerfModel",
    "TooLarge",
    "engine_limits",
    "find_gpu",
    "find_model",
    "load_delay_s",
    "measure_capacity",
    "shipped_tables",
]
