"""One vLLM-like engine, and requests through it, without a clock."""

from argosy.engine.coefficients import StepCoefficients
from argosy.engine.request import Admitted, EngineLimits, EngineRequest, RefusalReason, Refused
from argosy.engine.scheduler import EngineCounters, Scheduler, Step, StepEvents
from argosy.engine.simulate import Requests, RequestTimes, simulate
from argosy.engine.step_time import step_ms

__all__ = [
    "Admitted",
    "EngineCounters",
    "EngineLimits",
    "EngineRequest",
    "RefusalReason",
    "Refused",
    "RequestTimes",
    "Requests",
    "Scheduler",
    "Step",
    "StepCoefficients",
    "StepEvents",
    "simulate",
    "step_ms",
]
