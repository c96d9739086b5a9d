"""`argosy perf import FILES`: reports of benchmarks in, a profile out.

Input: the options as written. Output: the profile's file, and its errors beside the shipped profile's, as
text or JSON. The fit itself is `perf.measurements`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from argosy.cli.options import ImportOptions
from argosy.cli.output import Output, digits
from argosy.cli.progress import progress
from argosy.cli.screens.measured import (
    architecture_beyond_catalogue,
    fit_questions,
    require_described,
    with_declared_gpu,
)
from argosy.cli.screens.replica import at_least_one
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.measurements import (
    CannotFit,
    FitQuestion,
    FittedProfile,
    Measurements,
    QuantityError,
    UnreadableReport,
    fit_profile,
    profile_to_bytes,
    read_measurements,
)
from argosy.perf.protocol import OutOfRange
from argosy.perf.robust_fit import Move
from argosy.snapshot import EngineSettings, Gpu, Variant


def show(asked: ImportOptions, output: Output) -> None:
    """Fit, write and print. Raises SpecError for a file, an option or measurements that cannot be used."""
    _require_no_report(asked)
    reports = _of_one_gpu([_read(path, output) for path in asked.files], asked.gpu)
    variant = with_declared_gpu(_variant(asked, reports), asked.gpu_memory, output)
    require_described(variant, output)
    questions = fit_questions(variant, output)
    with progress("fitting the profile"):
        fitted = _best_fit(reports, questions)
    if isinstance(fitted, CannotFit):
        output.refused(fitted)
    fitted = replace(fitted, notes=(*fitted.notes, *_other_names(reports, variant)))
    _write(asked.out, profile_to_bytes(fitted))
    if output.as_json:
        output.document(_document(fitted, variant, asked.out))
        return
    _print(fitted, output.console)
    output.console.print(f"wrote {asked.out}; {_what_next(variant, asked.out)}", soft_wrap=True)


# --- from options and files to the question ---------------------------------------------------


def _variant(asked: ImportOptions, reports: Sequence[Measurements]) -> Variant:
    """The replica that was measured. Raises SpecError where neither the options nor the reports name it."""
    gpus = [name for report in reports for name in (report.gpu, *report.gpus)]
    model = _model(asked, reports)
    return Variant(
        model_key=ModelKey(""),
        model_id=model,
        served_names=(),
        pool="",
        gpu=asked.gpu or _named("gpu", gpus),
        tensor_parallel=at_least_one(asked.tp, "--tp"),
        pipeline_parallel=at_least_one(asked.pp, "--pp"),
        engine=EngineSettings(
            max_num_seqs=asked.max_num_seqs,
            max_num_batched_tokens=asked.max_num_batched_tokens,
            max_model_len=asked.max_model_len,
            quantization=asked.dtype,
        ),
        architecture=None if asked.config is None else architecture_beyond_catalogue(model, asked.config),
    )


def _model(asked: ImportOptions, reports: Sequence[Measurements]) -> str:
    """The model's id. Raises SpecError where neither the options nor the reports name it."""
    return asked.model or _named("model", [report.model for report in reports])


def _read(path: Path, output: Output) -> Measurements:
    """The rows of a report; the command ends with a refusal that names the file where there are none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", str(path)) from error
    found = read_measurements(content, path.name)
    if isinstance(found, UnreadableReport):
        output.refused(found, str(path))
    return found


def _require_no_report(asked: ImportOptions) -> None:
    """Raises SpecError where the profile would replace one of the reports."""
    target = asked.out.resolve()
    for path in asked.files:
        if path.resolve() == target:
            raise SpecError(f"{asked.out} is one of the reports and would be replaced; name another", "--out")


def _of_one_gpu(reports: list[Measurements], gpu: str | None) -> list[Measurements]:
    """Of a table that names GPUs, the rows of the given one. Raises SpecError where it has none."""
    return reports if gpu is None else [_of_gpu(report, gpu) for report in reports]


def _of_gpu(report: Measurements, gpu: str) -> Measurements:
    same = next((name for name in report.gpus if _is_same_gpu(name, gpu)), None)
    if same is not None:
        return report.of_gpu(same)
    if report.gpus:
        raise SpecError(f"{report.name} names {', '.join(report.gpus)}, not {gpu}; name that card", "--gpu")
    return report


def _is_same_gpu(one: str, other: str) -> bool:
    known = find_gpu(one), find_gpu(other)
    return one == other or (isinstance(known[0], Gpu) and known[0] == known[1])


def _other_names(reports: Sequence[Measurements], variant: Variant) -> list[str]:
    """A sentence for each report that names another model or GPU than the options."""
    asked = find_model(variant.model_id)
    models = [
        f"{report.name}: it names {report.model}, and is taken for a measurement of {variant.model_id}"
        for report in reports
        if report.model and report.model != variant.model_id
        if isinstance(asked, OutOfRange) or find_model(report.model) != asked
    ]
    gpus = [
        f"{report.name}: it names {report.gpu}, and is taken for a measurement on {variant.gpu}"
        for report in reports
        if report.gpu and not _is_same_gpu(report.gpu, variant.gpu)
    ]
    return models + gpus


def _named(what: str, names: Sequence[str | None]) -> str:
    """The name on which the reports agree. Raises SpecError where they name none or several."""
    found = sorted({name for name in names if name})
    if len(found) != 1:
        why = f"the reports name {', '.join(found)}" if found else "no report names one"
        raise SpecError(f"{why}: give --{what}", f"--{what}")
    return found[0]


def _best_fit(reports: Sequence[Measurements], questions: Sequence[FitQuestion]) -> FittedProfile | CannotFit:
    """The fit with the smallest error; where none is one, the first one's reason."""
    found = [fit_profile(reports, question) for question in questions]
    fitted = [each for each in found if isinstance(each, FittedProfile)]
    return min(fitted, key=_first_error) if fitted else found[0]


def _first_error(fitted: FittedProfile) -> float:
    return next((own.mean_absolute for _, own, _ in _compared(fitted)), math.inf)


def _write(path: Path, content: bytes) -> None:
    """Raises SpecError. The path may be a pipe such as /dev/stdout, so it is not replaced but written to."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}", "--out") from error


def _command(variant: Variant, out: Path) -> str:
    """The command that the written profile answers: with another shape or type, it would not be used."""
    words = ["argosy", "perf", "show", variant.model_id, "--gpu", variant.gpu]
    if variant.tensor_parallel > 1:
        words += ["--tp", str(variant.tensor_parallel)]
    if variant.pipeline_parallel > 1:
        words += ["--pp", str(variant.pipeline_parallel)]
    if variant.engine.quantization is not None:
        words += ["--dtype", str(variant.engine.quantization)]
    return shlex.join([*words, "--profile", str(out)])


def _what_next(variant: Variant, out: Path) -> str:
    if variant.declared_gpu is None and variant.architecture is None:
        return f"ask it with: {_command(variant, out)}"
    if variant.declared_gpu is None:
        return "name it in spec.profiles of the ServedModel, beside its spec.architecture"
    gib = variant.declared_gpu.memory_bytes / 2**30
    return (
        f"name it in spec.profiles of the ServedModel, and declare the GPU in the GPUPool: spec.gpu"
        f" {variant.gpu}, spec.gpuSpec.memoryGib {gib:g}"
    )


# --- from the fit to what is printed ----------------------------------------------------------


def _print(fitted: FittedProfile, console: Console) -> None:
    profile = fitted.profile
    console.print(f"{profile.key}: {profile.source}")
    console.print(_rows_sentence(fitted))
    for note in fitted.notes:
        console.print(f"  {note}")
    known = [f"{_range(*span)} {name}" for name, span in _spans(fitted) if span is not None]
    console.print(f"covered: {', '.join(known)}; fitted to the rows: {', '.join(fitted.fitted)}")
    console.print(f"moved from the prior: {'; '.join(map(str, fitted.moves))}")
    table = Table()
    for column in ("", "rows", "this profile: error", "bias", "the shipped profile: error", "bias"):
        table.add_column(column)
    for name, own, shipped in _compared(fitted):
        table.add_row(name, str(own.num_rows), *_errors(own), *_errors(shipped))
    console.print(table)
    basis = " (each row predicted from the others)" if fitted.is_cross_validated else ""
    console.print(
        f"expect step times within {profile.uncertainty:.1%}{basis};"
        f" the front end adds {fitted.front_end_ms:.1f} ms to TTFT"
    )


def _rows_sentence(fitted: FittedProfile) -> str:
    """How many rows of each kind, in all files."""
    counts = _row_counts(fitted)
    return f"rows: {counts['kept']} kept, {counts['marked']} marked, {counts['left_out']} left out"


def _row_counts(fitted: FittedProfile) -> dict[str, int]:
    used, marked = (
        sum(one.num_rows for one in fitted.files),
        sum(one.num_marked for one in fitted.files),
    )
    return {
        "kept": used - marked,
        "marked": marked,
        "left_out": sum(one.num_left_out for one in fitted.files),
    }


def _errors(error: QuantityError) -> tuple[str, str]:
    return f"{error.mean_absolute:.1%}", f"{error.bias:+.1%}"


def _spans(fitted: FittedProfile) -> tuple[tuple[str, tuple[float, float] | None], ...]:
    """The smallest and the largest value of each load in the rows; None where no row has that load."""
    covered = fitted.covered
    return (
        ("prompt tokens", covered.prompt_tokens),
        ("output tokens", covered.output_tokens),
        ("in flight", covered.concurrency),
        ("requests/s", covered.requests_per_s),
    )


def _range(smallest: float, largest: float) -> str:
    return f"{smallest:g}" if smallest == largest else f"{smallest:g}-{largest:g}"


def _compared(fitted: FittedProfile) -> Iterator[tuple[str, QuantityError, QuantityError]]:
    """Each measured quantity: the error of this profile and of the shipped one."""
    for name, own, shipped in (
        ("ITL", fitted.error.itl, fitted.prior_error.itl),
        ("TTFT", fitted.error.ttft, fitted.prior_error.ttft),
        ("E2E", fitted.error.e2e, fitted.prior_error.e2e),
        ("throughput", fitted.error.throughput, fitted.prior_error.throughput),
    ):
        if own is not None and shipped is not None:
            yield name, own, shipped


def _document(fitted: FittedProfile, variant: Variant, out: Path) -> dict[str, Any]:
    """What --json prints. Errors are ratios (0.05 is 5 %)."""
    key, profile = fitted.profile.key, fitted.profile
    return {
        "file": str(out),
        "command": None if variant.declared_gpu or variant.architecture else _command(variant, out),
        "model": variant.model_id,
        "gpu": key.gpu,
        "tp": key.shape.tensor_parallel,
        "pp": key.shape.pipeline_parallel,
        "dtype": str(key.dtype),
        "profile": {"origin": str(profile.origin), "error": digits(profile.uncertainty)},
        "source": profile.source,
        "front_end_ms": digits(fitted.front_end_ms),
        "fitted": list(fitted.fitted),
        "moves": [move_document(move) for move in fitted.moves],
        "covered": asdict(fitted.covered),
        "errors": {
            name.lower(): {
                "num_rows": own.num_rows,
                "own": _error_document(own),
                "shipped": _error_document(shipped),
            }
            for name, own, shipped in _compared(fitted)
        },
        "rows": _row_counts(fitted),
        "notes": list(fitted.notes),
    }


def move_document(move: Move) -> dict[str, Any]:
    """From the prior's value to the fitted one, in `unit` (a factor: ""), and in spreads of the prior."""
    return {
        "name": move.name,
        "unit": move.unit,
        "prior": digits(move.prior),
        "value": digits(move.value),
        "spreads": digits(move.spreads),
        "at_bound": None if move.at_bound is None else str(move.at_bound),
    }


def _error_document(error: QuantityError) -> dict[str, Any]:
    return {"mean_absolute": digits(error.mean_absolute), "bias": digits(error.bias)}
