"""`argosy perf roles MODEL`: the flags. The answer is in `screens.roles`."""

from __future__ import annotations

from typing import Annotated

import typer

from argosy.cli.completion import gpu_names
from argosy.cli.early import require_known
from argosy.cli.options import (
    AsJson,
    Gpu,
    KvCache,
    LinkKind,
    LoadOptions,
    ModelName,
    OutputTokens,
    Price,
    PromptTokens,
    ReplicaOptions,
    RoleOptions,
    RolesOptions,
    TensorParallel,
    Weights,
)
from argosy.cli.output import answering

PrefillGpu = Annotated[
    str | None, typer.Option(help="GPU of prefill replicas; default: --gpu.", autocompletion=gpu_names)
]
PrefillTp = Annotated[
    int | None, typer.Option(metavar="GPUS", help="--tp of prefill replicas; default: --tp.")
]
PrefillPrice = Annotated[
    float | None, typer.Option(metavar="USD", help="--price of prefill GPUs; default: --price.")
]
DecodeGpu = Annotated[
    str | None, typer.Option(help="GPU of decode replicas; default: --gpu.", autocompletion=gpu_names)
]
DecodeTp = Annotated[int | None, typer.Option(metavar="GPUS", help="--tp of decode replicas; default: --tp.")]
DecodePrice = Annotated[
    float | None, typer.Option(metavar="USD", help="--price of decode GPUs; default: --price.")
]
TtftP95 = Annotated[
    float, typer.Option(metavar="MS", help="SLO: time to first token of 95 % of the requests.")
]
ItlP95 = Annotated[
    float, typer.Option(metavar="MS", help="SLO: mean gap between tokens of 95 % of the requests.")
]
MaxNumSeqs = Annotated[
    float, typer.Option(metavar="N", help="Requests that each replica runs at the same time.")
]
Link = Annotated[
    LinkKind,
    typer.Option(
        case_sensitive=False,
        help="What carries the KV cache: the network, or nvlink or pcie inside one node.",
    ),
]


def roles(  # noqa: PLR0913 - one parameter per flag
    model: ModelName,
    gpu: Gpu = "H100",
    tp: TensorParallel = 1,
    prefill_gpu: PrefillGpu = None,
    prefill_tp: PrefillTp = None,
    decode_gpu: DecodeGpu = None,
    decode_tp: DecodeTp = None,
    dtype: Weights = None,
    kv_dtype: KvCache = None,
    prompt: PromptTokens = 1024,
    output: OutputTokens = 256,
    ttft_p95: TtftP95 = 2000.0,
    itl_p95: ItlP95 = 50.0,
    max_num_seqs: MaxNumSeqs = 256,
    link: Link = "network",
    price: Price = None,
    prefill_price: PrefillPrice = None,
    decode_price: DecodePrice = None,
    as_json: AsJson = False,
) -> None:
    """Compare prefill and decode on separate replicas with the same GPUs as aggregated replicas."""
    asked = RolesOptions(
        ReplicaOptions(model, gpu, tp, dtype=dtype, kv_dtype=kv_dtype),
        LoadOptions(prompt, output, batch=1),
        RoleOptions("--prefill-", prefill_gpu, prefill_tp, prefill_price),
        RoleOptions("--decode-", decode_gpu, decode_tp, decode_price),
        ttft_p95,
        itl_p95,
        max_num_seqs,
        link,
        price,
    )
    with answering("argosy perf roles", as_json) as found:
        gpus = {"prefill": prefill_gpu or gpu, "decode": decode_gpu or gpu}
        require_known(model, gpus, found)
        from argosy.cli.screens import roles as screen  # imports the performance model

        screen.show(asked, found)
