"""Observed runs of which the truth is known: the library's step times, changed by factors."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats
from argosy.engine import twin
from argosy.engine.simulate import Requests
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.capacity.search import EngineModel
from argosy.perf.measurements import FitQuestion
from argosy.perf.measurements.fit import prior_table
from argosy.perf.measurements.scaled import ScalingFactors, scaled
from argosy.perf.observed.file import COMPLETED, RequestLine, RunEnd, RunHeader
from argosy.perf.observed.run import Engine, ObservedRequest, ObservedRun
from argosy.perf.profile import Profile
from argosy.snapshot import EngineSettings, Variant

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CLIENT_MS = 12.0
"""What client, network and front end add to every TTFT."""


@dataclass(frozen=True)
class Truth:
    """By how much the engine that is observed differs from the library's: factors on each part."""

    s: float = 1.0
    compute: float = 1.0
    attention: float = 1.0
    c0: float = 1.0
    cb: float = 1.0


@dataclass(frozen=True)
class Known:
    """The library's engine, and the question whose prior it is."""

    question: FitQuestion
    engine: EngineModel


def known(gpu: str = "L40S") -> Known:
    """Llama-3.1-8B on one GPU."""
    perf = LibraryPerfModel(shipped_library(), {})
    variant = Variant(ModelKey(""), LLAMA, (), "", gpu, 1, EngineSettings())
    profile, engine = perf.profile(variant), perf.engine(variant)
    assert isinstance(profile, Profile)
    assert isinstance(engine, EngineModel)
    return Known(FitQuestion(profile.key, profile, engine.limits, "2026-01-01"), engine)


def poisson(num: int, per_s: float, seed: int) -> Requests:
    """Poisson arrivals from zero; prompts of 500 and answers of 150 tokens in the median, widely spread."""
    rng = np.random.default_rng(seed)
    arrivals_s = np.cumsum(rng.exponential(1 / per_s, num))
    prompts = rng.lognormal(6.2, 1.0, num).astype(np.int64).clip(16, 8000)
    outputs = rng.lognormal(5.0, 0.8, num).astype(np.int64).clip(2, 1500)
    return Requests(arrivals_s - arrivals_s[0], prompts, outputs, np.zeros(num, dtype=np.int64))


def observed(
    before: Known, truth: Truth, requests: Requests, client_ms: Floats | float = CLIENT_MS
) -> ObservedRun:
    """What a client sees of an engine of this truth."""
    table = prior_table(before.question.prior)
    factors = ScalingFactors(
        truth.s, truth.compute, truth.attention, table.c0 * truth.c0, table.cb * truth.cb
    )
    times = twin.simulate(requests, before.engine.limits, scaled(table, factors))
    ttft_ms, e2e_ms = times.ttft_ms + client_ms, times.e2e_ms + client_ms
    rows = zip(
        requests.arrivals_s.tolist(),
        requests.prompt_tokens.tolist(),
        requests.output_tokens.tolist(),
        e2e_ms.tolist(),
        ttft_ms.tolist(),
        strict=True,
    )
    found = tuple(ObservedRequest(f"{number:06d}", *row) for number, row in enumerate(rows))
    return ObservedRun("run.jsonl", "0" * 64, "argosy perf observe", found)


def as_file(run: ObservedRun, engine: Engine, *, is_complete: bool = True) -> str:
    """The run as `argosy perf observe` writes it."""
    header = RunHeader(
        "2026-01-01T00:00:00.000+00:00", "http://x", "t", "/v1/completions", "text", 1.0, 512, 9, engine
    )
    lines = [header.to_json()]
    for one in run.requests:
        first_s = one.sent_s + (one.ttft_ms or 0.0) / 1e3
        last_s = one.sent_s + one.e2e_ms / 1e3
        line = RequestLine(
            one.id,
            COMPLETED,
            one.sent_s,
            one.sent_s,
            first_s,
            last_s,
            last_s,
            one.prompt_tokens,
            one.output_tokens,
        )
        lines.append(line.to_json())
    if is_complete:
        lines.append(
            RunEnd(is_complete=True, num_recorded=len(run.requests), dispatch_lag_p99_s=0.001).to_json()
        )
    return "\n".join(lines) + "\n"


def without(line: str, *names: str) -> str:
    """A JSON line without these fields."""
    return json.dumps({name: value for name, value in json.loads(line).items() if name not in names})
