"""Whether a run had settled: a verdict on the drift of the number of requests in the system."""

from argosy.engine.stationarity.judge import (
    MARGIN,
    MIN_REQUESTS,
    NUM_BATCHES,
    RunVerdict,
    Stationarity,
    judge_run,
    judge_times,
)

__all__ = [
    "MARGIN",
    "MIN_REQUESTS",
    "NUM_BATCHES",
    "RunVerdict",
    "Stationarity",
    "judge_run",
    "judge_times",
]
