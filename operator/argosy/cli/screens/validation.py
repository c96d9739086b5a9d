"""`argosy perf --validate`: the accuracy tables, computed anew from what ships with the package.

Owns the printing. What is computed: `perf.validation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from argosy.perf.library import ProfileLibrary
from argosy.perf.shipped import shipped_forms, shipped_measurements
from argosy.perf.validation.figures import (
    Comparison,
    energy_rows,
    form_medians,
    itl_comparisons,
    kv_comparisons,
    power_comparisons,
)
from argosy.perf.validation.report import GroupReport, reports
from argosy.perf.validation.runs import parse_runs


def show_validation(library: ProfileLibrary, console: Console) -> None:
    """Print every table; the slow one first says so."""
    console.print("Measured vLLM runs: even rows calibrate, odd rows judge (about a minute)")
    console.print("(mean absolute error, in brackets the bias: positive is predicted too slow)")
    found = reports(parse_runs(shipped_measurements()), library)
    console.print(_groups(found))
    for sentence in _left_out(found):
        console.print(sentence)
    console.print()
    medians = form_medians(shipped_forms())
    console.print(
        f"Closed form against {medians.num_profiles} step tables, median error:"
        f" decode {medians.decode:.1%}, mixed {medians.mixed:.1%}, prefill {medians.prefill:.1%}\n"
    )
    console.print("Step times, KV capacity and power against published figures")
    console.print(_comparisons([*itl_comparisons(library), *kv_comparisons(), *power_comparisons()]))
    console.print()
    console.print(
        "Energy per token: power x step time / batch, beside published figures (their lengths unknown)"
    )
    table = _table(
        "GPU", "model", "batch", "W", "step ms", "J/token", "published", "difference", "their step ms"
    )
    for row in energy_rows(library):
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
    console.print(table)


def _groups(found: Sequence[GroupReport]) -> Table:
    table = _table("hold-out runs of", "", "TPOT raw", "TTFT raw", "TPOT calibrated", "TTFT calibrated", "KV")
    for group in found:
        if group.raw is None or group.calibrated is None:
            continue
        cells = []
        for errors in (group.raw, group.calibrated):
            cells += [_error(errors.tpot_mape, errors.tpot_bias), _error(errors.ttft_mape, errors.ttft_bias)]
        table.add_row(_name(group), str(group.raw.num_runs), *cells, str(group.kv_dtype))
    return table


def _left_out(found: Sequence[GroupReport]) -> Iterable[str]:
    for group in found:
        if group.raw is None:
            yield f"no report of {_name(group)}: {group.why_not}"
        elif group.num_left_out:
            yield f"{group.num_left_out} runs of {_name(group)} have no profile (data- or expert-parallel)"


def _name(group: GroupReport) -> str:
    return f"{group.group.model.split('/')[-1]} {group.group.dtype} {group.group.system}"


def _error(mean_absolute: float, bias: float) -> str:
    return f"{mean_absolute:6.1%} ({bias:+.1%})"


def _comparisons(rows: Iterable[Comparison]) -> Table:
    table = _table("what", "published", "ours", "difference")
    for row in rows:
        table.add_row(row.what, f"{row.published:g}", f"{row.ours:.5g}", f"{row.difference:+.1%}")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
