"""Load: what is asked for, when, and what came back.

Pure: `trace`, `archetypes`, `arrivals`, `load`, `prompt`, `record`, `stream`, `attainment`.
Live (clock, sockets): `replay` and `command`, which the others never import.
"""

from argosy_sim.traffic.archetypes import ARCHETYPES, Archetype, Quantiles, UnknownArchetype, find_archetype
from argosy_sim.traffic.arrivals import RateStep, Schedule, poisson_arrivals_s, trace_patterned_arrivals_s
from argosy_sim.traffic.attainment import LatencySummary, Percentiles, attainment, latency_summary
from argosy_sim.traffic.load import ClassLoad, PlannedRequest, plan_load
from argosy_sim.traffic.record import Outcome, RequestRecord, read_records
from argosy_sim.traffic.trace import BadTrace, Trace, TraceRequest, load_trace

__all__ = [
    "ARCHETYPES",
    "Archetype",
    "BadTrace",
    "ClassLoad",
    "LatencySummary",
    "Outcome",
    "Percentiles",
    "PlannedRequest",
    "Quantiles",
    "RateStep",
    "RequestRecord",
    "Schedule",
    "Trace",
    "TraceRequest",
    "UnknownArchetype",
    "attainment",
    "find_archetype",
    "latency_summary",
    "load_trace",
    "plan_load",
    "poisson_arrivals_s",
    "read_records",
    "trace_patterned_arrivals_s",
]
