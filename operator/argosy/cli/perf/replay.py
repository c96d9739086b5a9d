"""`argosy perf replay FILE`: the flags. The comparison is `screens.observed.replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.completion import gpu_names, model_names
from argosy.cli.early import require_readable
from argosy.cli.options import AsJson, KvCache, Profiles, RunEngineOptions, Weights
from argosy.cli.output import answering

RunFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A run of argosy perf observe, or single requests of vllm bench serve, guidellm, aiperf,"
        " inference-perf.",
        show_default=False,
    ),
]
RunModel = Annotated[
    str | None,
    typer.Option("--model", help="Model id; default: as in the run.", autocompletion=model_names),
]
RunGpu = Annotated[
    str | None,
    typer.Option("--gpu", help="GPU by catalogue name; default: as in the run.", autocompletion=gpu_names),
]
RunTp = Annotated[
    int | None,
    typer.Option("--tp", metavar="GPUS", help="GPUs that share each layer; default: the run's, else 1."),
]
RunPp = Annotated[
    int | None, typer.Option("--pp", metavar="STAGES", help="Pipeline stages; default: the run's, else 1.")
]
Vllm = Annotated[
    str | None, typer.Option("--vllm", metavar="VERSION", help="Version of vLLM; default: as in the run.")
]
MaxNumSeqs = Annotated[
    int | None, typer.Option("--max-num-seqs", metavar="N", help="As the engine was started; default 256.")
]
MaxNumBatchedTokens = Annotated[
    int | None,
    typer.Option(
        "--max-num-batched-tokens", metavar="TOKENS", help="As the engine was started; default 8192."
    ),
]
MaxModelLen = Annotated[
    int | None,
    typer.Option("--max-model-len", metavar="TOKENS", help="As the engine was started; default: the run's."),
]

RunGpuMemory = Annotated[
    float | None,
    typer.Option("--gpu-memory", metavar="GIB", help="Memory of a GPU that the catalogue does not have."),
]
RunConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The config.json of a model that the catalogue does not have.",
        show_default=False,
    ),
]


def replay(  # noqa: PLR0913 - one parameter per flag
    file: RunFile,
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
    profile: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Put the requests of an observed run through the simulated engine, and compare what clients saw.

    Exit code 3: the run or its simulation was not stationary, so that its
    percentiles follow from its length.
    """
    limits = (max_num_seqs, max_num_batched_tokens, max_model_len)
    engine = RunEngineOptions(model, gpu, tp, pp, dtype, kv_dtype, vllm, *limits, gpu_memory, config)
    with answering("argosy perf replay", as_json) as found:
        require_readable([file])
        from argosy.cli.screens.observed import replay as screen  # imports the performance model

        screen.show(file, engine, tuple(profile or ()), found)
