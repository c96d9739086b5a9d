"""`argosy perf calibrate FILE`: the flags. The fit is shown by `screens.observed.calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.early import require_readable
from argosy.cli.options import AsJson, KvCache, RunEngineOptions, Weights
from argosy.cli.output import answering
from argosy.cli.perf.replay import (
    MaxModelLen,
    MaxNumBatchedTokens,
    MaxNumSeqs,
    RunConfig,
    RunFile,
    RunGpu,
    RunGpuMemory,
    RunModel,
    RunPp,
    RunTp,
    Vllm,
)

First = Annotated[
    int, typer.Option("--first", metavar="N", help="Requests to fit to; the rest judges the profile.")
]
Out = Annotated[Path, typer.Option("--out", help="File to write the profile to.")]


def calibrate(  # noqa: PLR0913 - one parameter per flag
    file: RunFile,
    first: First = 100,
    out: Out = Path("profile.json"),
    model: RunModel = None,
    config: RunConfig = None,
    gpu: RunGpu = None,
    gpu_memory: RunGpuMemory = None,
    tp: RunTp = None,
    pp: RunPp = None,
    dtype: Weights = None,
    kv_dtype: KvCache = None,
    vllm: Vllm = None,
    max_num_seqs: MaxNumSeqs = None,
    max_num_batched_tokens: MaxNumBatchedTokens = None,
    max_model_len: MaxModelLen = None,
    as_json: AsJson = False,
) -> None:
    """Fit a profile to the first requests of an observed run, judge it on the rest, and write it.

    A ServedModel uses the file as it uses one of argosy perf import. Exit
    code 3: on the rest it is no better than the shipped profile.
    """
    limits = (max_num_seqs, max_num_batched_tokens, max_model_len)
    engine = RunEngineOptions(model, gpu, tp, pp, dtype, kv_dtype, vllm, *limits, gpu_memory, config)
    with answering("argosy perf calibrate", as_json) as found:
        require_readable([file])
        from argosy.cli.screens.observed import calibrate as screen  # imports the performance model

        screen.show(file, engine, (first, out), found)
