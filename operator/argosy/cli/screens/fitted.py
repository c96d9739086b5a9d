"""`argosy perf import`: reports of benchmarks in, a profile out.

Owns the options, the files and the printed comparison. Never fits (`perf.measurements`).
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from argosy.errors import SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.measurements import (
    CannotFit,
    FitQuestion,
    FittedProfile,
    Measurements,
    QuantityError,
    Unreadable,
    fit_profile,
    profile_to_bytes,
    read_measurements,
)
from argosy.perf.memory import engine_limits
from argosy.perf.model import wanted_profile
from argosy.perf.protocol import OutOfRange, TooLarge
from argosy.snapshot import Dtype, EngineSettings, Variant

_T = TypeVar("_T")


def import_measurements(  # noqa: PLR0913 - one parameter per option
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Reports of vllm bench serve, guidellm, aiperf; a CSV; Mélange's or AIBrix's tables."
        ),
    ],
    model: Annotated[str, typer.Option(help="Model id; default: what the report says.")] = "",
    gpu: Annotated[str, typer.Option(help="GPU by catalogue name; default: what the report says.")] = "",
    tp: Annotated[int, typer.Option(min=1, help="GPUs that share each layer.")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="Pipeline stages.")] = 1,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Number type of the weights; default: the checkpoint's.")
    ] = None,
    max_num_seqs: Annotated[int, typer.Option(min=1, help="As the engine was started.")] = 256,
    max_num_batched_tokens: Annotated[int, typer.Option(min=1, help="As the engine was started.")] = 8192,
    max_model_len: Annotated[int, typer.Option(min=1, help="As the engine was started.")] = 16384,
    out: Annotated[Path, typer.Option(help="Where the profile goes.")] = Path("profile.json"),
) -> None:
    """Fit a profile to your measurements, print its error beside the shipped one's, and write it.

    A ServedModel names the written file by spec.profiles, once it is in a ConfigMap:
    kubectl create configmap measured --from-file=profile.json
    """
    reports = _of_one_gpu([_read(path) for path in files], gpu)
    variant = Variant(
        model_key="",
        model_id=model or _said("model", [report.model for report in reports]),
        served_names=(),
        pool="",
        gpu=gpu or _said("gpu", [name for report in reports for name in (report.gpu, *report.gpus)]),
        tensor_parallel=tp,
        pipeline_parallel=pp,
        engine=EngineSettings(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            max_model_len=max_model_len,
            quantization=dtype,
        ),
    )
    fitted = fit_profile(reports, _question(variant))
    if isinstance(fitted, CannotFit):
        raise SpecError(fitted.message, "argosy perf import")
    _write(out, profile_to_bytes(fitted))
    _show(fitted, Console(highlight=False))
    typer.echo(f"wrote {out}; ask it with: {_asking(variant, out)}")


def _read(path: Path) -> Measurements:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error}", str(path)) from error
    found = read_measurements(content, path.name)
    if isinstance(found, Unreadable):
        raise SpecError(found.message, str(path))
    return found


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SpecError(f"cannot be written: {error}", str(path)) from error


def _asking(variant: Variant, out: Path) -> str:
    """The command that answers by the written profile: without its shape and type, another would."""
    words = ["argosy", "perf", variant.model_id, "--gpu", variant.gpu]
    if variant.tensor_parallel > 1:
        words += ["--tp", str(variant.tensor_parallel)]
    if variant.pipeline_parallel > 1:
        words += ["--pp", str(variant.pipeline_parallel)]
    if variant.engine.quantization is not None:
        words += ["--dtype", str(variant.engine.quantization)]
    return shlex.join([*words, "--profile", str(out)])


def _of_one_gpu(reports: list[Measurements], gpu: str) -> list[Measurements]:
    """Of a table that compares GPUs, the rows of the one that is asked for."""
    return [report.of_gpu(gpu) if gpu in report.gpus else report for report in reports]


def _said(what: str, named: list[str | None]) -> str:
    """What the reports agree on; asks the user where they do not say or do not agree."""
    names = sorted({name for name in named if name})
    if len(names) != 1:
        why = f"the reports name {', '.join(names)}" if names else "no report names one"
        raise SpecError(f"{why}: give the {what}", f"--{what}")
    return names[0]


def _question(variant: Variant) -> FitQuestion:
    perf = LibraryPerfModel(shipped_library(), {})
    wanted, prior = _known(wanted_profile(variant)), _known(perf.profile(variant))
    room = _known(perf.fits(variant))
    limits = engine_limits(variant.engine, room.kv_capacity_tokens)
    return FitQuestion(wanted.key, prior, limits, time.strftime("%Y-%m-%d", time.gmtime()))


def _known(found: _T | OutOfRange | TooLarge) -> _T:
    """An answer of the performance model. Raises SpecError where it has none."""
    if isinstance(found, OutOfRange | TooLarge):
        raise SpecError(found.message, "argosy perf import")
    return found


def _show(fitted: FittedProfile, console: Console) -> None:
    covered, profile = fitted.covered, fitted.profile
    console.print(f"{profile.key}: {profile.source}")
    for note in fitted.notes:
        console.print(f"  {note}")
    spans: tuple[tuple[str, tuple[float, float] | None], ...] = (
        ("prompt tokens", covered.prompt_tokens),
        ("output tokens", covered.output_tokens),
        ("in flight", covered.concurrency),
        ("requests/s", covered.requests_per_s),
    )
    known = [f"{low:g}-{high:g} {name}" for name, span in spans if span is not None for low, high in [span]]
    console.print(f"covered: {', '.join(known)}; decided by the rows: {', '.join(fitted.fitted)}")
    table = Table()
    for column in ("", "rows", "this profile: error", "bias", "the shipped one: error", "bias"):
        table.add_column(column)
    pairs = (
        ("ITL", fitted.error.itl, fitted.prior_error.itl),
        ("TTFT", fitted.error.ttft, fitted.prior_error.ttft),
        ("E2E", fitted.error.e2e, fitted.prior_error.e2e),
        ("throughput", fitted.error.throughput, fitted.prior_error.throughput),
    )
    for name, own, shipped in pairs:
        if own is not None and shipped is not None:
            table.add_row(name, str(own.num_rows), *_errors(own), *_errors(shipped))
    console.print(table)
    console.print(
        f"expect step times within {profile.uncertainty:.1%} (each row predicted from the others);"
        f" the front end adds {fitted.front_end_ms:.1f} ms to TTFT"
    )


def _errors(error: QuantityError) -> tuple[str, str]:
    return f"{error.mean_absolute:.1%}", f"{error.bias:+.1%}"
