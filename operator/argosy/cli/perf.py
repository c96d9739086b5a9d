"""`argosy perf`: what a replica does, offline; which profiles there are; how true they are.

Owns options, files and printing. Never computes: questions go to `argosy.perf`, and what comes
back is shown with its units, its origin and its error. `argosy perf import` is in `perf_import`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from argosy.cli.perf_capacities import show_capacities
from argosy.cli.perf_import import import_measurements
from argosy.cli.perf_validate import show_validation
from argosy.errors import SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.answer import Answer, Load, Unanswered, answer
from argosy.perf.catalogue import ConfigFault, architecture_from_config, gpus
from argosy.perf.library import ProfileLibrary
from argosy.perf.measurements import ProfileFault, profile_from_bytes
from argosy.perf.profile import Profile
from argosy.perf.shipped import shipped_forms
from argosy.snapshot import Architecture, Dtype, EngineSettings, Variant

DEFAULT_BATCH = 64
ROOFLINE_EXAMPLE = "meta-llama/Llama-3.1-8B"


class _AnswerFirst(TyperGroup):
    """`argosy perf MODEL ...` is `argosy perf answer MODEL ...`; a sub-command keeps its name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command that is meant."""
        first = args[0] if args else "--help"
        if first not in self.commands:
            args = ["answer", *(args or ["--help"])]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_AnswerFirst, help="What a replica does, offline.", add_completion=False)
app.command("import")(import_measurements)
app.command("capacities")(show_capacities)


@dataclass(frozen=True, slots=True)
class _Shown:
    """How an answer leaves."""

    as_json: bool
    console: Console


@app.command(
    "answer",
    hidden=True,
    epilog=(
        "argosy perf capacities FILES shows what a replica carries of each class;"
        " argosy perf import FILE fits a profile to your own measurements."
    ),
)
def ask(  # noqa: PLR0913 - one parameter per option
    model: Annotated[
        str, typer.Argument(help="Model id, such as meta-llama/Llama-3.1-8B-Instruct, or a config.json.")
    ] = "",
    gpu: Annotated[str, typer.Option(help="GPU by catalogue name or node label.")] = "H100",
    tp: Annotated[int, typer.Option(help="GPUs that share each layer.")] = 1,
    pp: Annotated[int, typer.Option(help="Pipeline stages.")] = 1,
    dtype: Annotated[str, typer.Option(help="Number type of the weights; default: the checkpoint's.")] = "",
    kv_dtype: Annotated[str, typer.Option(help="Number type of the KV cache: bf16 or fp8.")] = "",
    prompt: Annotated[float, typer.Option(help="Prompt tokens per request.")] = 1024,
    output: Annotated[float, typer.Option(help="Output tokens per request.")] = 256,
    batch: Annotated[
        float | None, typer.Option(help=f"Requests in flight; default: {DEFAULT_BATCH}, unless --rate.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second, instead of --batch.")] = None,
    price: Annotated[
        float | None, typer.Option(help="USD per GPU-hour; default: the middle of list prices.")
    ] = None,
    loras: Annotated[int, typer.Option(help="LoRA adapters in use at once.")] = 0,
    profile: Annotated[
        list[Path] | None, typer.Option(help="A profile of yours (argosy perf import); repeatable.")
    ] = None,
    list_profiles: Annotated[bool, typer.Option("--list", help="Show every profile and its error.")] = False,
    validate: Annotated[
        bool, typer.Option("--validate", help="Recompute the accuracy tables (about a minute).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Step time, ITL, TTFT, throughput, KV, power and cost of one replica, or why there is no answer."""
    shown = _Shown(as_json, Console(highlight=False))
    library = shipped_library().with_users(_read_profile(path) for path in profile or ())
    if list_profiles:
        _show_profiles(library, shown)
        return
    if validate:
        show_validation(library, shown.console)
        return
    try:
        if not model:
            raise SpecError("name a model, or ask for --list", "MODEL")
        load = Load(
            _whole(prompt, "--prompt"),
            _whole(output, "--output"),
            _batch(batch, rate),
            _finite(rate, "--rate"),
        )
        variant = _variant(_Asked(model, gpu, tp, pp, dtype, kv_dtype, loras), load)
        found = answer(variant, load, LibraryPerfModel(library, {}), _finite(price, "--price"))
    except SpecError as error:
        _refuse(Unanswered("InvalidValue", str(error)), shown)
    if isinstance(found, Unanswered):
        _refuse(found, shown)
    if as_json:
        typer.echo(json.dumps(answer_document(found)))
    else:
        _show_answer(found, load, shown.console)


def answer_document(found: Answer) -> dict[str, Any]:
    """The object that --json prints. Unknown is null; all else has the unit in its name."""
    key = found.profile.key
    return {
        "model": found.model,
        "gpu": found.gpu,
        "tp": key.shape.tensor_parallel,
        "dtype": str(key.dtype),
        "profile": {"origin": str(found.profile.origin), "error": _digits(found.profile.uncertainty)},
        "step_ms": _digits(found.step_ms),
        "itl_ms": _digits(found.itl_ms),
        "ttft_ms": _digits(found.ttft_ms),
        "throughput_tokens_per_s": _digits(found.throughput_tokens_per_s),
        "requests_per_s": _digits(found.requests_per_s),
        "kv_capacity_tokens": found.kv_capacity_tokens,
        "slots": found.slots,
        "power_w": _digits(found.power.watts),
        "joule_per_token": _digits(found.joule_per_token),
        "usd_per_million_tokens": _digits(found.usd_per_million_tokens),
        "uncertainty": _digits(found.profile.uncertainty),
    }


def _show_answer(found: Answer, load: Load, console: Console) -> None:
    key, profile, power = found.profile.key, found.profile, found.power
    asked = f"{load.batch} in flight" if load.batch is not None else f"{load.requests_per_s:g} requests/s"
    console.print(f"{key}, {load.prompt_tokens} prompt and {load.output_tokens} output tokens, {asked}")
    console.print(f"{profile.origin}: {profile.source}")
    console.print(f"expect step times within {profile.uncertainty:.0%} (one standard error)\n")
    rows = [
        ("step time", f"{found.step_ms:.2f} ms", f"decoding {found.mean_batch:.0f} sequences"),
        (
            "ITL",
            f"{found.itl_ms:.2f} ms" if math.isfinite(found.itl_ms) else "none",
            "mean gap between tokens",
        ),
        ("TTFT", f"{found.ttft_ms:.1f} ms", "mean"),
        ("throughput", f"{found.throughput_tokens_per_s:,.0f} tokens/s", "generated"),
        ("", f"{found.requests_per_s:.2f} requests/s", ""),
        ("KV capacity", f"{found.kv_capacity_tokens:,} tokens", ""),
        ("slots", f"{found.slots}", "requests of these lengths at once"),
        ("power", f"{power.watts:,.0f} W", f"{power.source}, within {power.uncertainty:.0%}"),
        ("energy", f"{found.joule_per_token:.3f} J/token", "power x step time / batch"),
        _cost(found),
    ]
    table = Table(show_header=False, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cost(found: Answer) -> tuple[str, str, str]:
    price, usd = found.price_usd_per_gpu_hour, found.usd_per_million_tokens
    if price is None or usd is None:
        return ("cost", "unknown", f"no list price of {found.gpu} is known: --price says yours")
    return ("cost", f"${usd:.3f} per million tokens", f"at ${price:.2f} per GPU-hour (--price says yours)")


def _show_profiles(library: ProfileLibrary, shown: _Shown) -> None:
    profiles = list(_listed(library))
    if shown.as_json:
        typer.echo(json.dumps([_profile_document(profile) for profile in profiles]))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("GPU", "model", "type", "shapes", "origin", "error"):
        table.add_column(column, overflow="fold")
    for (gpu, model, dtype, origin), alike in groupby(
        profiles, key=lambda each: (each.key.gpu, each.key.model, each.key.dtype, each.origin)
    ):
        found = list(alike)
        shapes = " ".join(str(profile.key.shape) for profile in found)
        worst = max(profile.uncertainty for profile in found)
        table.add_row(gpu, model, str(dtype), shapes, str(origin), f"{worst:.0%}")
    shown.console.print(table)
    shown.console.print(
        f"{len(profiles)} profiles. Error, the worst of the shapes: of a table and a roofline against"
        " measured runs before calibration, of a form against its table."
        "\nAny other model, shape or type on a known GPU is widened, scaled or computed: its answer says so."
        "\nargosy perf --list --json has each one's source; argosy perf --validate recomputes the errors."
    )


def _listed(library: ProfileLibrary) -> Iterator[Profile]:
    """What was measured with the forms fitted to it; then each GPU without tables, by an 8B model."""
    forms = shipped_forms()
    keys = list(library.keys())
    for _, alike in groupby(keys, key=lambda key: (key.gpu, key.model, key.dtype)):
        same = list(alike)
        for find in (library.measured, forms.profile):
            yield from (found for key in same if isinstance(found := find(key), Profile))
    measured = {key.gpu for key in keys}
    perf = LibraryPerfModel(library, {})
    for gpu in gpus():
        if gpu.name not in measured:
            found = perf.profile(Variant("", ROOFLINE_EXAMPLE, (), "", gpu.name, 1, EngineSettings()))
            if isinstance(found, Profile):
                yield found


def _profile_document(profile: Profile) -> dict[str, Any]:
    key = profile.key
    return {
        "gpu": key.gpu,
        "model": key.model,
        "dtype": str(key.dtype),
        "tp": key.shape.tensor_parallel,
        "pp": key.shape.pipeline_parallel,
        "origin": str(profile.origin),
        "error": _digits(profile.uncertainty),
        "source": profile.source,
    }


def _refuse(refusal: Unanswered, shown: _Shown) -> NoReturn:
    if shown.as_json:
        nearest = list(refusal.nearest)
        typer.echo(
            json.dumps({"error": {"reason": refusal.reason, "message": refusal.message, "nearest": nearest}})
        )
    else:
        typer.echo(f"argosy perf: {refusal.message}", err=True)
    raise typer.Exit(2)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The variant's options, as written."""

    model: str
    gpu: str
    tp: int
    pp: int
    dtype: str
    kv_dtype: str
    loras: int


def _variant(asked: _Asked, load: Load) -> Variant:
    for name, value in (("--tp", asked.tp), ("--pp", asked.pp)):
        if value < 1:
            raise SpecError(f"must be at least 1, got {value}", name)
    if asked.loras < 0:
        raise SpecError(f"must be zero or more, got {asked.loras}", "--loras")
    longest = math.ceil(1.1 * (load.prompt_tokens + load.output_tokens))
    engine = EngineSettings(
        max_num_seqs=max(EngineSettings().max_num_seqs, load.batch or 0),
        max_num_batched_tokens=max(EngineSettings().max_num_batched_tokens, load.batch or 0),
        max_model_len=longest,
        quantization=_dtype(asked.dtype, tuple(Dtype), "--dtype"),
        max_loras=asked.loras,
        kv_cache_dtype=_dtype(asked.kv_dtype, (Dtype.BF16, Dtype.FP8), "--kv-dtype"),
    )
    return Variant(
        model_key="",
        model_id=asked.model,
        served_names=(),
        pool="",
        gpu=asked.gpu,
        tensor_parallel=asked.tp,
        pipeline_parallel=asked.pp,
        engine=engine,
        architecture=_read_architecture(Path(asked.model)) if asked.model.endswith(".json") else None,
    )


def _read_architecture(path: Path) -> Architecture:
    try:
        found = architecture_from_config(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot be read: {error}", str(path)) from error
    if isinstance(found, ConfigFault):
        raise SpecError(f"{found.field}: {found.message}", str(path))
    return found


def _read_profile(path: Path) -> Profile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error}", str(path)) from error
    found = profile_from_bytes(content, str(path))
    if isinstance(found, ProfileFault):
        raise SpecError(found.message, "--profile")
    return found.profile


def _dtype(name: str, known: Sequence[Dtype], option: str) -> Dtype | None:
    if not name:
        return None
    found = next((dtype for dtype in known if dtype.value == name.lower()), None)
    if found is None:
        raise SpecError(f"{name!r} is none of {', '.join(known)}", option)
    return found


def _batch(batch: float | None, rate: float | None) -> int | None:
    if batch is None:
        return None if rate is not None else DEFAULT_BATCH
    return _whole(batch, "--batch")


def _whole(value: float, option: str) -> int:
    if not (math.isfinite(value) and value >= 1 and value == int(value)):
        raise SpecError(f"must be a whole number of at least 1, got {value:g}", option)
    return int(value)


def _finite(value: float | None, option: str) -> float | None:
    if value is not None and not math.isfinite(value):
        raise SpecError(f"must be a number, got {value:g}", option)
    return value


def _digits(value: float | None) -> float | None:
    """Five digits, which is more than any of it is worth; NaN (no gap to speak of) is unknown."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
