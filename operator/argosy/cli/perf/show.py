"""`argosy perf show MODEL`: the flags. The answer is in `screens.answer`."""

from __future__ import annotations

from typing import Annotated

import typer

from argosy.cli.early import config_of, require_known
from argosy.cli.options import (
    DEFAULT_BATCH,
    DEFAULT_DRAFT_COST,
    AsJson,
    AsYaml,
    Config,
    Gpu,
    KvCache,
    LoadOptions,
    ModelOrConfig,
    OutputTokens,
    PipelineParallel,
    Price,
    Profiles,
    PromptTokens,
    ReplicaOptions,
    ShowOptions,
    SpeculationOptions,
    TensorParallel,
    Weights,
)
from argosy.cli.output import answering

Batch = Annotated[
    float | None,
    typer.Option(metavar="N", help=f"Requests in flight; default: {DEFAULT_BATCH}, unless --rate."),
]
Rate = Annotated[float | None, typer.Option(metavar="PER_S", help="Requests per second, instead of --batch.")]
Cached = Annotated[
    float, typer.Option(metavar="SHARE", help="Share of each prompt that the prefix cache holds, 0-1.")
]
DraftTokens = Annotated[
    float | None,
    typer.Option(metavar="N", help="Tokens drafted per step (speculative decoding); with --acceptance."),
]
Acceptance = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Probability that a drafted token is accepted, 0-1."),
]
DraftCost = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Time to draft one token, as a share of a decode step; default:"
        f" {DEFAULT_DRAFT_COST:g}, a one-layer head such as EAGLE or MTP (n-grams: 0).",
    ),
]
Vllm = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="Version of vLLM, such as 0.15.1; default: a ServedModel's."),
]
Loras = Annotated[int, typer.Option(metavar="N", help="LoRA adapters in use at the same time.")]


def show(  # noqa: PLR0913 - one parameter per flag
    model: ModelOrConfig = "",
    gpu: Gpu = "H100",
    tp: TensorParallel = 1,
    pp: PipelineParallel = 1,
    dtype: Weights = None,
    kv_dtype: KvCache = None,
    prompt: PromptTokens = 1024,
    output: OutputTokens = 256,
    batch: Batch = None,
    rate: Rate = None,
    cached: Cached = 0.0,
    draft_tokens: DraftTokens = None,
    acceptance: Acceptance = None,
    draft_cost: DraftCost = None,
    price: Price = None,
    loras: Loras = 0,
    vllm: Vllm = None,
    profile: Profiles = None,
    config: Config = None,
    as_yaml: AsYaml = False,
    as_json: AsJson = False,
) -> None:
    """Show step time, ITL, TTFT, throughput, KV capacity, power and cost of one replica.

    With --yaml, print the dimensions of the model as the spec.architecture of a ServedModel:

        argosy perf show --config config.json --yaml
    """
    asked = ShowOptions(
        ReplicaOptions(model, gpu, tp, pp, dtype, kv_dtype, loras, config, vllm),
        LoadOptions(prompt, output, batch, rate, cached),
        SpeculationOptions(draft_tokens, acceptance, draft_cost),
        price,
        tuple(profile or ()),
    )
    with answering("argosy perf show", as_json) as found:
        file = config_of(model, config)
        require_known(model if file is None else "", {"": gpu}, found)
        if as_yaml:
            from argosy.cli.screens import architecture

            architecture.show(model, file, found)
            return
        from argosy.cli.screens import answer  # imports the performance model

        answer.show(asked, found)
