"""`argosy perf observe URL`: the checks of the flags, the observation, and what is printed of it.

Input: the options as written. Output: the file of the run and a summary, as text or JSON. Sending and
measuring are `argosy.client`'s.
"""

from __future__ import annotations

import math
from dataclasses import replace

import typer

from argosy.cli.options import ObserveOptions
from argosy.cli.output import Output, digits
from argosy.cli.progress import progress
from argosy.client.event_loop import awaited
from argosy.client.flags import checked_path, checked_url, header_pairs, new_file
from argosy.client.observing import Observation, Observed, observe
from argosy.client.open_loop import ReplayTarget
from argosy.errors import SpecError
from argosy.exit_codes import ExitCode, exit_code
from argosy.perf.catalogue import find_gpu
from argosy.perf.observed.file import COMPLETED
from argosy.perf.observed.run import Engine
from argosy.refusals import Refused
from argosy.traces.trace import BadTrace, Trace, load_trace

_TOO_LATE_S = 0.02
"""Requests that the client sent later than this are another load than the trace's."""


def show(asked: ObserveOptions, output: Output) -> None:
    """Observe, write and print. Raises SpecError for a flag, a file or an endpoint that cannot be used."""
    trace, speed = _paced(_trace(asked, output), asked)
    asked_of = _observation(asked, speed, output)
    out = new_file(asked.out)
    with progress(f"observing {asked.url}") as bar:
        total = len(trace.requests)
        found = awaited(observe(trace, asked_of, out, lambda count: bar.done(count, total)))
    _print(found, asked, output)
    num_completed = found.num_by_outcome[COMPLETED]
    code = exit_code(found.is_complete and num_completed == found.num_planned)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def _trace(asked: ObserveOptions, output: Output) -> Trace:
    found = load_trace(asked.trace)
    if isinstance(found, BadTrace):
        output.refused(found, "--trace")
    return found


def _paced(trace: Trace, asked: ObserveOptions) -> tuple[Trace, float]:
    """The requests that are sent, and how much faster than in the trace. Raises SpecError."""
    for flag, value in (("--qps", asked.qps), ("--speed", asked.speed), ("--duration", asked.duration)):
        if value is not None and not 0 < value < math.inf:
            raise SpecError(f"must be a positive number, got {value:g}", flag)
    for flag, count in (("--max-requests", asked.max_requests), ("--max-in-flight", asked.max_in_flight)):
        if count is not None and count < 1:
            raise SpecError(f"must be at least 1, got {count}", flag)
    if asked.max_requests is not None:
        trace = replace(trace, requests=trace.requests[: asked.max_requests])
    speed = asked.speed if asked.qps is None else _speed_for(asked.qps, trace, asked.speed)
    trace = trace.rescaled(speed)
    if asked.duration is not None:
        trace = trace.window(0.0, asked.duration)
    return trace, speed


def _speed_for(qps: float, trace: Trace, speed: float) -> float:
    if speed != 1.0:
        raise SpecError("has no effect beside --qps: give one of them", "--speed")
    span_s = trace.requests[-1].arrival_s
    if span_s <= 0:
        raise SpecError(f"{trace.name} has all requests at one instant: no factor stretches that", "--qps")
    return qps * span_s / max(1, len(trace.requests) - 1)


def _observation(asked: ObserveOptions, speed: float, output: Output) -> Observation:
    if not 0 < asked.timeout < math.inf:
        raise SpecError(f"must be a positive number of seconds, got {asked.timeout:g}", "--timeout")
    if asked.gpu is not None and isinstance(gpu := find_gpu(asked.gpu), Refused):
        output.refused(gpu, "--gpu")
    if asked.tp is not None and asked.tp < 1:
        raise SpecError(f"must be at least 1, got {asked.tp}", "--tp")
    target = ReplayTarget(
        checked_url(asked.url, "URL"),
        header_pairs(asked.headers),
        asked.max_in_flight,
        request_timeout_s=asked.timeout,
        drain_timeout_s=asked.timeout,
        takes_any_length=True,
    )
    engine = Engine(model=asked.model, gpu=asked.gpu, tp=asked.tp)
    return Observation(target, engine, speed, checked_path(asked.path), asked.as_text)


def _print(found: Observed, asked: ObserveOptions, output: Output) -> None:
    lag_s = found.lag_p99_s
    if lag_s is not None and lag_s > _TOO_LATE_S:
        output.remark(
            f"requests were sent up to {lag_s * 1e3:.0f} ms late (99 %): this machine is too busy to measure"
        )
    if output.as_json:
        output.document(
            {
                "file": str(asked.out),
                "is_complete": found.is_complete,
                "model": found.engine.model,
                "engine_version": found.engine.version,
                "kv_blocks": found.engine.kv_blocks,
                "num_planned": found.num_planned,
                "num_by_outcome": dict(sorted(found.num_by_outcome.items())),
                "dispatch_lag_p99_ms": digits(None if lag_s is None else lag_s * 1e3),
            }
        )
        return
    counts = ", ".join(f"{num} {outcome}" for outcome, num in sorted(found.num_by_outcome.items())) or "none"
    ending = "" if found.is_complete else "; interrupted, so the file is marked as a part of the run"
    version = "version not told" if found.engine.version is None else f"vLLM {found.engine.version}"
    output.console.print(f"{found.engine.model} ({version}) at {asked.url}", soft_wrap=True)
    output.console.print(f"{found.num_planned} requests planned: {counts}{ending}", soft_wrap=True)
    output.console.print(
        f"wrote {asked.out}; compare it with: argosy perf replay {asked.out}", soft_wrap=True
    )
