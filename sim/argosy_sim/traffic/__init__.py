"""Offered load: published traces, length archetypes, arrival times. Pure; the live client is `replay`."""

from argosy.traces.trace import BadTrace, Trace, TraceRequest, load_trace
from argosy_sim.traffic.archetypes import ARCHETYPES, Archetype, Quantiles, UnknownArchetype, find_archetype
from argosy_sim.traffic.arrivals import RateStep, Schedule, poisson_arrivals_s, trace_patterned_arrivals_s

__all__ = [
    "ARCHETYPES",
    "Archetype",
    "BadTrace",
    "Quantiles",
    "RateStep",
    "Schedule",
    "Trace",
    "TraceRequest",
    "UnknownArchetype",
    "find_archetype",
    "load_trace",
    "poisson_arrivals_s",
    "trace_patterned_arrivals_s",
]
