"""Measured vLLM runs, and what a simulated engine makes of the same load.

Owns the rows of `measurements.csv` and the protocol by which they were measured. `calibration`
fits. The protocol is InferenceMAX's: a closed loop of C requests in flight, 10*C prompts, lengths
uniform on [0.8 L, L], `--max-num-seqs C`, 8,192 batched tokens, no prefix cache; TTFT is the mean
over all requests, TPOT the mean of each request's mean gap.

All of it is known, so nothing is taken from `measurements.trial`, which assumes what users' reports
leave unsaid (normal lengths, a seed and a length of run of its own): both only call the twin.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

import numpy as np

from argosy.engine import ClosedLoop, twin
from argosy.engine.request import EngineLimits
from argosy.engine.step_times import StepTimeSource
from argosy.errors import SpecError
from argosy.perf.profile import Shape
from argosy.snapshot.architecture import Dtype

PROMPTS_PER_SLOT = 10
SHORTEST = 0.8
MAX_BATCHED_TOKENS = 8192
_DTYPES = {
    "bfloat16": Dtype.BF16,
    "fp8": Dtype.FP8,
    "fp8_block": Dtype.FP8,
    "nvfp4": Dtype.FP4,
    "int4_wo": Dtype.INT4,
}


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Runs that are reported together: the source's names of model and system, the type, the engine.

    version: of vLLM as the source states it; empty where it does not
    """

    model: str
    system: str
    dtype: Dtype
    version: str

    @property
    def subject(self) -> tuple[str, str, Dtype]:
        """All but the version: what is divided into halves."""
        return self.model, self.system, self.dtype

    def __str__(self) -> str:
        return f"{self.model} {self.dtype} on {self.system}, vLLM {self.version or 'not stated'}"


@dataclass(frozen=True, slots=True)
class Run:
    """One row. `row` is its number in the source; milliseconds are means over the requests.

    is_sharded_only: neither data- nor expert-parallel: all that a profile's shape can say
    """

    row: int
    group: Group
    prompt_tokens: int
    output_tokens: int
    concurrency: int
    shape: Shape
    is_sharded_only: bool
    ttft_ms: float
    tpot_ms: float

    @property
    def mean_gaps(self) -> float:
        """Gaps between the tokens of a mean output."""
        return (1 + SHORTEST) / 2 * self.output_tokens - 1

    @property
    def e2e_ms(self) -> float:
        """To the last token of a mean output: the source states the other two only."""
        return self.ttft_ms + self.tpot_ms * self.mean_gaps


@dataclass(frozen=True, slots=True)
class Predicted:
    """Means over all requests of a run, milliseconds."""

    ttft_ms: float
    tpot_ms: float

    def e2e_ms(self, run: Run) -> float:
        """To the last token of the run's mean output."""
        return self.ttft_ms + self.tpot_ms * run.mean_gaps


def parse_runs(table: bytes) -> tuple[Run, ...]:
    """All rows of `measurements.csv`. Raises SpecError that names the row at fault."""
    lines = [line for line in table.decode("utf-8").splitlines() if not line.startswith("#")]
    runs = []
    for number, row in enumerate(csv.DictReader(io.StringIO("\n".join(lines))), start=1):
        try:
            runs.append(_run(row))
        except (KeyError, TypeError, ValueError) as fault:
            raise SpecError(f"row {number}: {fault!r}", "measurements.csv") from fault
    return tuple(runs)


def _run(row: dict[str, str]) -> Run:
    ttft_ms, tpot_ms = float(row["ttft_ms"]), float(row["tpot_ms"])
    if not (math.isfinite(ttft_ms) and math.isfinite(tpot_ms) and min(ttft_ms, tpot_ms) > 0):
        raise ValueError(f"TTFT and TPOT are positive milliseconds, got {ttft_ms} and {tpot_ms}")
    return Run(
        row=int(row["row"]),
        group=Group(row["model"], row["system"], _DTYPES[row["precision"]], row["engine_version"]),
        prompt_tokens=int(row["prompt_tokens"]),
        output_tokens=int(row["output_tokens"]),
        concurrency=int(row["concurrency"]),
        shape=Shape(int(row["tensor_parallel"]), int(row["pipeline_parallel"])),
        is_sharded_only=int(row["data_parallel"]) == 1 and int(row["expert_parallel"]) in (0, 1),
        ttft_ms=ttft_ms,
        tpot_ms=tpot_ms,
    )


def halves(runs: tuple[Run, ...]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """(calibration, hold-out): the even and the odd rows of one subject, counted in the file's order.

    Not of one version: a row's half does not depend on what else is known of it.
    """
    return runs[::2], runs[1::2]


def predict(run: Run, limits: EngineLimits, source: StepTimeSource) -> Predicted:
    """The protocol on a simulated engine. One seed: the same run always has the same requests."""
    rng = np.random.default_rng(run.row)
    count = PROMPTS_PER_SLOT * run.concurrency

    def lengths(longest: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return rng.integers(max(2, int(SHORTEST * longest)), longest + 1, count)

    prompts, outputs = lengths(run.prompt_tokens), lengths(run.output_tokens)
    loop = ClosedLoop(prompts, outputs, run.concurrency)
    times = twin.simulate_loop(loop, limits, source).times
    return Predicted(float(np.mean(times.ttft_ms)), float(np.mean(times.itl_ms)))
