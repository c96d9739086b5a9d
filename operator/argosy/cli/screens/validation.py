"""`argosy perf validate`: the accuracy tables, computed anew from what ships with the package.

Output: a document, or tables of how far the model is from measured runs and from published figures
(`perf.validation` computes both).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from argosy.cli.output import Output, digits, plain_table
from argosy.cli.progress import progress
from argosy.perf import shipped_library
from argosy.perf.library import ProfileLibrary
from argosy.perf.power.energy import EnergyRow
from argosy.perf.shipped import shipped_forms, shipped_measurements
from argosy.perf.validation.ablation import AblationRow, MedianError, ablation
from argosy.perf.validation.calibration import Errors
from argosy.perf.validation.figures import (
    Comparison,
    FormMedians,
    energy_rows,
    form_medians,
    itl_comparisons,
    kv_comparisons,
    power_comparisons,
)
from argosy.perf.validation.report import GroupReport, reports
from argosy.perf.validation.runs import Run, parse_runs


@dataclass(frozen=True, slots=True)
class _Accuracy:
    """All that is compared."""

    groups: Sequence[GroupReport]
    ablation: Sequence[AblationRow]
    forms: FormMedians
    comparisons: Sequence[Comparison]
    energy: Sequence[EnergyRow]


def show(output: Output) -> None:
    """Print every table."""
    library = shipped_library()
    groups = _reports(parse_runs(shipped_measurements()), library)
    found = _Accuracy(
        groups,
        ablation(groups),
        form_medians(shipped_forms()),
        [*itl_comparisons(library), *kv_comparisons(), *power_comparisons()],
        energy_rows(library),
    )
    if output.as_json:
        output.document(_document(found))
    else:
        _print(found, output)


def _reports(runs: Sequence[Run], library: ProfileLibrary) -> list[GroupReport]:
    """Group by group in the order of `reports`: together they take about a minute."""
    subjects = sorted({run.group.subject for run in runs})
    found: list[GroupReport] = []
    with progress("simulating measured runs of vLLM") as bar:
        for number, subject in enumerate(subjects):
            bar.done(number, len(subjects))
            found += reports([run for run in runs if run.group.subject == subject], library)
    return found


# --- text ---------------------------------------------------------------------------------------


def _print(found: _Accuracy, output: Output) -> None:
    console, medians = output.console, found.forms
    console.print("Measured vLLM runs: even rows calibrate, odd rows are compared")
    console.print("(mean absolute error; in brackets the bias, positive where the prediction is too slow)")
    console.print(_groups(found.groups))
    for sentence in _left_out(found.groups):
        console.print(sentence)
    console.print("\nWhat each mechanism is worth on the hold-out runs, by vLLM's version")
    console.print("(median absolute error; in brackets the median error)")
    console.print(_ablation(found.ablation))
    console.print(
        f"\nClosed form against {medians.num_profiles} step tables, median error:"
        f" decode {medians.decode:.1%}, mixed {medians.mixed:.1%}, prefill {medians.prefill:.1%}\n"
    )
    console.print("Step times, KV capacity and power against published figures")
    console.print(_comparisons(found.comparisons))
    console.print(
        "\nEnergy per token: power x step time / batch, against published figures (their lengths are unknown)"
    )
    console.print(_energy(found.energy))


def _energy(rows: Iterable[EnergyRow]) -> Table:
    table = plain_table(
        "GPU", "model", "batch", "W", "step ms", "J/token", "published", "difference", "implied step ms"
    )
    for row in rows:
        figure = row.figure
        table.add_row(
            f"{figure.gpu} TP{figure.tensor_parallel}",
            figure.model,
            str(figure.batch),
            f"{row.power_w:.0f}",
            f"{row.step_ms:.2f}",
            f"{row.joule_per_token:.3f}",
            f"{figure.joule_per_token:.3f}",
            f"{row.difference:+.1%}",
            f"{row.implied_step_ms:.2f}",
        )
    return table


def _groups(found: Sequence[GroupReport]) -> Table:
    table = plain_table(
        "hold-out runs of", "", "TPOT raw", "TTFT raw", "TPOT calibrated", "TTFT calibrated", "KV"
    )
    for group in found:
        if group.raw is None or group.calibrated is None:
            continue
        cells = []
        for errors in (group.raw, group.calibrated):
            cells += [_error(errors.tpot_mape, errors.tpot_bias), _error(errors.ttft_mape, errors.ttft_bias)]
        table.add_row(_name(group), str(group.raw.num_runs), *cells, str(group.kv_dtype))
    return table


def _ablation(rows: Iterable[AblationRow]) -> Table:
    table = plain_table("vLLM", "", "mechanisms up to", "ITL", "E2E", "mean TTFT")
    for row in rows:
        cells = [_error(each.off, each.bias) for each in (row.itl, row.e2e, row.ttft)]
        table.add_row(row.version, str(row.num_runs), str(row.mechanism), *cells)
    return table


def _left_out(found: Sequence[GroupReport]) -> Iterable[str]:
    for group in found:
        if group.raw is None:
            yield f"no report of {_name(group)}: {group.why_not}"
        elif group.num_left_out:
            yield f"{group.num_left_out} runs of {_name(group)} have no profile (data- or expert-parallel)"


def _name(group: GroupReport) -> str:
    version = group.group.version
    what = f"{group.group.model.split('/')[-1]} {group.group.dtype} {group.group.system}"
    return f"{what} {version.split('-')[0]}".rstrip()


def _error(mean_absolute: float, bias: float) -> str:
    return f"{mean_absolute:6.1%} ({bias:+.1%})"


def _comparisons(rows: Iterable[Comparison]) -> Table:
    table = plain_table("what", "published", "ours", "difference")
    for row in rows:
        table.add_row(row.what, f"{row.published:g}", f"{row.ours:.5g}", f"{row.difference:+.1%}")
    return table


# --- JSON ---------------------------------------------------------------------------------------


def _document(found: _Accuracy) -> dict[str, Any]:
    """What --json prints. Errors and differences are ratios (0.05 is 5 %); null is not known."""
    return {
        "groups": [_group_document(group) for group in found.groups],
        "ablation": [_ablation_document(row) for row in found.ablation],
        "forms": _rounded(asdict(found.forms)),
        "comparisons": [
            _rounded({"what": c.what, "published": c.published, "ours": c.ours, "difference": c.difference})
            for c in found.comparisons
        ],
        "energy": [_energy_document(row) for row in found.energy],
    }


def _group_document(report: GroupReport) -> dict[str, Any]:
    return {
        "model": report.group.model,
        "system": report.group.system,
        "dtype": str(report.group.dtype),
        "engine_version": report.group.version or None,
        "kv_dtype": str(report.kv_dtype),
        "num_left_out": report.num_left_out,
        "why_not": report.why_not or None,
        "raw": _errors_document(report.raw),
        "calibrated": _errors_document(report.calibrated),
    }


def _ablation_document(row: AblationRow) -> dict[str, Any]:
    return {
        "engine_version": row.version,
        "mechanism": str(row.mechanism),
        "num_runs": row.num_runs,
        **{name: _rounded(asdict(error)) for name, error in _medians(row)},
    }


def _medians(row: AblationRow) -> tuple[tuple[str, MedianError], ...]:
    return ("itl", row.itl), ("e2e", row.e2e), ("ttft", row.ttft)


def _errors_document(errors: Errors | None) -> dict[str, Any] | None:
    return None if errors is None else _rounded(asdict(errors))


def _energy_document(row: EnergyRow) -> dict[str, Any]:
    figure = row.figure
    return {
        "gpu": figure.gpu,
        "model": figure.model,
        "tp": figure.tensor_parallel,
        "batch": figure.batch,
        "power_w": digits(row.power_w),
        "step_ms": digits(row.step_ms),
        "joule_per_token": digits(row.joule_per_token),
        "published_joule_per_token": digits(figure.joule_per_token),
        "difference": digits(row.difference),
        "implied_step_ms": digits(row.implied_step_ms),
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: digits(value) if isinstance(value, float) else value for name, value in values.items()}
