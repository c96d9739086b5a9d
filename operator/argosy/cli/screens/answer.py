"""`argosy perf`: what a replica does, offline; which profiles there are; how true they are.

Owns options, files and printing. Never computes: questions go to `argosy.perf`, and what comes
back is shown with its units, its origin and its error. What options mean is in `perf_options`,
`argosy perf import` in `perf_import`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from argosy.cli.output import Shown, digits, refuse, whole
from argosy.cli.screens.capacities import show_capacities
from argosy.cli.screens.fitted import import_measurements
from argosy.cli.screens.replica import (
    DEFAULT_BATCH,
    DEFAULT_DRAFT_COST,
    Asked,
    Proposed,
    batch_size,
    finite,
    speculation,
    variant,
)
from argosy.cli.screens.roles import show_roles
from argosy.cli.screens.validation import show_validation
from argosy.errors import SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.answer import TTFT_OF_CLIENTS, Answer, Load, Question, Unanswered, answer
from argosy.perf.catalogue import gpus
from argosy.perf.library import ProfileLibrary
from argosy.perf.measurements import ProfileFault, far_off, profile_from_bytes
from argosy.perf.profile import Origin, Profile
from argosy.perf.shipped import shipped_forms
from argosy.perf.speculative import Speculation
from argosy.snapshot import EngineSettings, Variant

COMMAND = "argosy perf"
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
app.command("roles")(show_roles)


@app.command(
    "answer",
    hidden=True,
    epilog=(
        "argosy perf capacities FILES shows what a replica carries of each class;"
        " argosy perf roles MODEL whether prefill and decode on different replicas pay;"
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
    cached: Annotated[
        float, typer.Option(help="Share of every prompt that the prefix cache holds, 0-1.")
    ] = 0.0,
    draft_tokens: Annotated[
        float | None, typer.Option(help="Tokens proposed per step (speculative decoding); with --acceptance.")
    ] = None,
    acceptance: Annotated[
        float | None, typer.Option(help="Probability that a proposed token is accepted, 0-1.")
    ] = None,
    draft_cost: Annotated[
        float | None,
        typer.Option(
            help="Time of proposing one token, as a share of a plain step; default:"
            f" {DEFAULT_DRAFT_COST:g}, a one-layer head such as EAGLE or MTP (n-grams: 0)."
        ),
    ] = None,
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
    shown = Shown(as_json, Console(highlight=False))
    try:
        library = shipped_library().with_users(_read_profile(path) for path in profile or ())
        if list_profiles:
            _show_profiles(library, shown)
            return
        if validate:
            show_validation(library, shown.console)
            return
        if not model:
            raise SpecError("name a model, or ask for --list", "MODEL")
        load = Load(
            whole(prompt, "--prompt"),
            whole(output, "--output"),
            batch_size(batch, rate),
            finite(rate, "--rate"),
            cached,
        )
        proposed = speculation(Proposed(draft_tokens, acceptance, draft_cost))
        question = Question(load, proposed, finite(price, "--price"))
        asked = variant(Asked(model, gpu, tp, pp, dtype, kv_dtype, loras), load)
        found = answer(asked, question, LibraryPerfModel(library, {}))
    except SpecError as error:
        refuse(Unanswered("InvalidValue", str(error)), shown, COMMAND)
    if isinstance(found, Unanswered):
        refuse(found, shown, COMMAND)
    if profile and (remark := _remark(found, asked)):
        typer.echo(f"{COMMAND}: --profile: {remark}", err=True)
    if as_json:
        typer.echo(json.dumps(answer_document(found)))
    else:
        _show_answer(found, question, shown.console)


def _remark(found: Answer, asked: Variant) -> str:
    """What is odd about the profiles that were given: none of them counts, or it leaves what is known."""
    key = found.profile.key
    if found.profile.origin is not Origin.USER:
        return f"none of the profiles is of {key}: {found.profile.origin} answers"
    known = LibraryPerfModel(shipped_library(), {}).profile(asked)
    far = far_off(found.profile, known) if isinstance(known, Profile) else None
    return f"by this profile of {key}, {far}" if far else ""


def answer_document(found: Answer) -> dict[str, Any]:
    """The object that --json prints. Unknown is null; all else has the unit in its name."""
    key = found.profile.key
    return {
        "model": found.model,
        "gpu": found.gpu,
        "tp": key.shape.tensor_parallel,
        "dtype": str(key.dtype),
        "profile": {"origin": str(found.profile.origin), "error": digits(found.profile.uncertainty)},
        "step_ms": digits(found.step_ms),
        "itl_ms": digits(found.itl_ms),
        "ttft_ms": digits(found.ttft_ms),
        "throughput_tokens_per_s": digits(found.throughput_tokens_per_s),
        "requests_per_s": digits(found.requests_per_s),
        "kv_capacity_tokens": found.kv_capacity_tokens,
        "slots": found.slots,
        "power_w": digits(found.power.watts),
        "joule_per_token": digits(found.joule_per_token),
        "usd_per_million_tokens": digits(found.usd_per_million_tokens),
        "uncertainty": digits(found.profile.uncertainty),
    }


def _show_answer(found: Answer, question: Question, console: Console) -> None:
    key, profile, power, load = found.profile.key, found.profile, found.power, question.load
    asked = f"{load.batch} in flight" if load.batch is not None else f"{load.requests_per_s:g} requests/s"
    cached = f" ({found.cached_tokens} cached)" if load.cached_share > 0 else ""
    console.print(
        f"{key}, {load.prompt_tokens} prompt{cached} and {load.output_tokens} output tokens, {asked}"
    )
    console.print(f"{profile.origin}: {profile.source}")
    console.print(f"expect step times within {profile.uncertainty:.0%} (one standard error)\n")
    verified = "" if question.speculation is None else ", by the tokens that a step verifies"
    rows = [
        *_steps(found, question.speculation),
        (
            "ITL",
            f"{found.itl_ms:.2f} ms" if math.isfinite(found.itl_ms) else "none",
            "mean gap between tokens",
        ),
        ("TTFT", f"{found.ttft_ms:.1f} ms", _ttft_note(found)),
        ("throughput", f"{found.throughput_tokens_per_s:,.0f} tokens/s", "generated"),
        ("", f"{found.requests_per_s:.2f} requests/s", ""),
        ("KV capacity", f"{found.kv_capacity_tokens:,} tokens", ""),
        ("slots", f"{found.slots}", "requests of these lengths at once"),
        ("power", f"{power.watts:,.0f} W", f"{power.source}, within {power.uncertainty:.0%}{verified}"),
        ("energy", f"{found.joule_per_token:.3f} J/token", _energy(question.speculation)),
        _cost(found),
    ]
    table = Table(show_header=False, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _steps(found: Answer, proposing: Speculation | None) -> list[tuple[str, str, str]]:
    alone = round(found.mean_batch) <= 1
    batch = "1 sequence" if alone else f"{found.mean_batch:.0f} sequences"
    if proposing is None:
        return [("step time", f"{found.step_ms:.2f} ms", f"decoding {batch}")]
    count, each = proposing.draft_tokens, "" if alone else "each of "
    costs = f"a proposal takes {proposing.draft_cost:g} of a plain step (--draft-cost says yours)"
    return [
        ("step time", f"{found.step_ms:.2f} ms", f"verifying {count + 1} tokens of {each}{batch}"),
        ("", "", costs),
        (
            "tokens per step",
            f"{found.tokens_per_step:.2f}",
            f"mean; a proposal is accepted with probability {proposing.acceptance:g}",
        ),
    ]


def _energy(proposing: Speculation | None) -> str:
    each = "batch" if proposing is None else "(batch x tokens per step)"
    return f"power x step time / {each}"


def _ttft_note(found: Answer) -> str:
    """Of a profile that no measured run has corrected, what a run would probably say."""
    if found.profile.origin is Origin.USER:
        return "mean"
    low, high = TTFT_OF_CLIENTS
    return f"mean, in the engine; clients of measured runs waited {low:g}-{high:g} times as long"


def _cost(found: Answer) -> tuple[str, str, str]:
    price, usd = found.price_usd_per_gpu_hour, found.usd_per_million_tokens
    if price is None or usd is None:
        return ("cost", "unknown", f"no list price of {found.gpu} is known: --price says yours")
    return ("cost", f"${usd:.3f} per million tokens", f"at ${price:.2f} per GPU-hour (--price says yours)")


def _show_profiles(library: ProfileLibrary, shown: Shown) -> None:
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
        "error": digits(profile.uncertainty),
        "source": profile.source,
    }


def _read_profile(path: Path) -> Profile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error}", str(path)) from error
    found = profile_from_bytes(content, str(path))
    if isinstance(found, ProfileFault):
        raise SpecError(found.message, "--profile")
    return found.profile
