"""The options that several commands share, declared once, and what a command was asked.

Owns names, types, help texts and completion of shared options (`Annotated` aliases), and one frozen dataclass
per command that holds its options as written. What they mean is found by the screens, which import far more
than `argosy --help` needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from argosy.cli.completion import gpu_names, model_names
from argosy.dtype import Dtype

DEFAULT_BATCH = 64
DEFAULT_DRAFT_COST = 0.05
"""Of a one-layer head (EAGLE, MTP), the most frequent way to speculate; too high for n-grams."""

KvDtype = Literal["bf16", "fp8"]
LinkKind = Literal["network", "nvlink", "pcie"]

# --- arguments ----------------------------------------------------------------------------------

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Model id, such as meta-llama/Llama-3.1-8B-Instruct, or the path of a config.json.",
        autocompletion=model_names,
        show_default=False,
    ),
]
ModelOrConfig = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Model id, such as meta-llama/Llama-3.1-8B-Instruct, or the path of a config.json or folder.",
        autocompletion=model_names,
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A Hugging Face config.json instead of MODEL. A hf_quant_config.json beside it is read too.",
        show_default=False,
    ),
]
AsYaml = Annotated[
    bool,
    typer.Option("--yaml", help="Print the spec.architecture of a ServedModel instead, to paste."),
]
ObjectFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES",
        help="YAML or JSON files, folders of them, or - for standard input: "
        "Argosy's resources, Nodes, ConfigMaps with profiles.",
    ),
]

# --- the replica --------------------------------------------------------------------------------

Gpu = Annotated[
    str,
    typer.Option("--gpu", help="GPU by catalogue name or node label.", autocompletion=gpu_names),
]
TensorParallel = Annotated[int, typer.Option("--tp", metavar="GPUS", help="GPUs that share each layer.")]
PipelineParallel = Annotated[int, typer.Option("--pp", metavar="STAGES", help="Pipeline stages.")]
Weights = Annotated[
    Dtype | None,
    typer.Option(
        "--dtype",
        case_sensitive=False,
        # The types in the help text leave the column of names wide enough for --max-num-batched-tokens.
        metavar="TYPE",
        help=f"Number type of the weights: {', '.join(Dtype)}; default: the checkpoint's.",
    ),
]
KvCache = Annotated[
    KvDtype | None,
    typer.Option(
        "--kv-dtype", case_sensitive=False, help="Number type of the KV cache; default: the checkpoint's."
    ),
]

# --- the load -----------------------------------------------------------------------------------

PromptTokens = Annotated[float, typer.Option("--prompt", metavar="TOKENS", help="Prompt tokens per request.")]
OutputTokens = Annotated[float, typer.Option("--output", metavar="TOKENS", help="Output tokens per request.")]
Price = Annotated[
    float | None,
    typer.Option("--price", metavar="USD", help="USD per GPU-hour; default: the middle of list prices."),
]

Profiles = Annotated[
    list[Path] | None,
    typer.Option("--profile", help="Your own profile, as argosy perf import writes it; repeatable."),
]

# --- the output ---------------------------------------------------------------------------------

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """One replica, as written."""

    model: str
    gpu: str
    tp: int = 1
    pp: int = 1
    dtype: Dtype | None = None
    kv_dtype: KvDtype | None = None
    loras: int = 0
    config: Path | None = None
    vllm: str | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What the replica is asked, as written: tokens per request, and a batch or a rate (requests/s)."""

    prompt: float
    output: float
    batch: float | None = None
    rate: float | None = None
    cached: float = 0.0


@dataclass(frozen=True, slots=True)
class SpeculationOptions:
    """Speculative decoding, as written; None: not given."""

    draft_tokens: float | None
    acceptance: float | None
    draft_cost: float | None


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """`argosy perf show`; profiles: files that `argosy perf import` wrote."""

    replica: ReplicaOptions
    load: LoadOptions
    speculation: SpeculationOptions
    price: float | None
    profiles: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class RoleOptions:
    """The GPUs of one role. `prefix` begins its options ("--prefill-"); None: as for both roles."""

    prefix: str
    gpu: str | None
    tp: int | None
    price: float | None


@dataclass(frozen=True, slots=True)
class RolesOptions:
    """`argosy perf roles`; times in milliseconds, price in USD per GPU-hour."""

    replica: ReplicaOptions
    load: LoadOptions
    prefill: RoleOptions
    decode: RoleOptions
    ttft_p95: float
    itl_p95: float
    max_num_seqs: float
    link: LinkKind
    price: float | None


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """`argosy perf import`; a model or GPU of None is read from the reports.

    gpu_memory: GiB of a GPU that the catalogue does not have
    config: of a model that it does not have
    """

    files: tuple[Path, ...]
    out: Path
    model: str | None
    gpu: str | None
    tp: int
    pp: int
    dtype: Dtype | None
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    gpu_memory: float | None = None
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class ObserveOptions:
    """`argosy perf observe`; qps in requests/s, duration and timeout in seconds; None: not given."""

    url: str
    trace: Path
    out: Path
    model: str | None
    qps: float | None
    speed: float
    max_requests: int | None
    duration: float | None
    max_in_flight: int
    timeout: float
    path: str
    as_text: bool
    headers: tuple[str, ...]
    gpu: str | None
    tp: int | None


@dataclass(frozen=True, slots=True)
class RunEngineOptions:
    """The engine of an observed run, as written; None: as in the run.

    gpu_memory: GiB of a GPU that the catalogue does not have
    config: of a model that it does not have
    """

    model: str | None
    gpu: str | None
    tp: int | None
    pp: int | None
    dtype: Dtype | None
    kv_dtype: KvDtype | None
    vllm: str | None
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    max_model_len: int | None
    gpu_memory: float | None = None
    config: Path | None = None
