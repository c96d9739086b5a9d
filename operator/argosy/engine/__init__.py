"""One vLLM-like engine, and requests through it, without a clock.

`twin` has the same simulations compiled, under the same names; so it is imported by its own.
"""

from argosy.engine.batches import EngineCounters, Step, StepEvents
from argosy.engine.coefficients import StepCoefficients
from argosy.engine.host import HostBeside
from argosy.engine.in_flight import InFlight, NotAsynchronous, SchedulingSettings, batches_in_flight
from argosy.engine.prefixes import Prefixes, PromptPrefix
from argosy.engine.request import Admitted, EngineLimits, EngineRequest, RejectedRequest, RejectionReason
from argosy.engine.scheduler import Scheduler
from argosy.engine.simulate import (
    ClosedLoop,
    ClosedLoopTimes,
    Requests,
    RequestTimes,
    simulate,
    simulate_loop,
)
from argosy.engine.step_lookup import StepLookup, step_lookup
from argosy.engine.step_times import StepTable, StepTimes, StepTimeSource, step_ms

__all__ = [
    "Admitted",
    "ClosedLoop",
    "ClosedLoopTimes",
    "EngineCounters",
    "EngineLimits",
    "EngineRequest",
    "HostBeside",
    "InFlight",
    "NotAsynchronous",
    "Prefixes",
    "PromptPrefix",
    "RejectedRequest",
    "RejectionReason",
    "RequestTimes",
    "Requests",
    "Scheduler",
    "SchedulingSettings",
    "Step",
    "StepCoefficients",
    "StepEvents",
    "StepLookup",
    "StepTable",
    "StepTimeSource",
    "StepTimes",
    "batches_in_flight",
    "simulate",
    "simulate_loop",
    "step_lookup",
    "step_ms",
]
