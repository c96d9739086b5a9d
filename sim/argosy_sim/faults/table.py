"""The results in words: the terminal's table, the failing sentences, and the JSON document. Pure.

A figure of before is `-` (JSON: null) where it was not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from argosy_sim.faults.case import BEFORE_COMMIT, Case, Result
from argosy_sim.faults.outcome import Judgement

COLUMNS = ("id", "case", "lost/of", "recovery", "revisions", "verdict")


def table(results: Sequence[Result]) -> Table:
    """Every result as a row: before -> after."""
    shown = Table(title=f"Faults: before (commit {BEFORE_COMMIT}) -> after")
    for column in COLUMNS:
        shown.add_column(column, overflow="fold")
    for result in results:
        shown.add_row(*row(result))
    return shown


def row(result: Result) -> tuple[str, ...]:
    """The cells of one result."""
    case, before, outcome = result.case, result.case.before, result.outcome
    lost = "-" if outcome is None else f"{len(outcome.lost)}/{len(outcome.records)}"
    revisions = "-" if outcome is None else str(len(outcome.revisions))
    return (
        case.id,
        case.words,
        f"{_or_dash(before.lost)}/{_or_dash(before.of)} -> {lost}",
        f"{before.recovery} -> {recovery(result)}",
        f"{_or_dash(before.revisions)} -> {revisions}",
        verdict(result),
    )


def verdict(result: Result) -> str:
    """`ok`, or how much does not hold."""
    if result.error:
        return "not carried out"
    failing = sum(not judgement.holds for judgement in result.judgements)
    return "ok" if failing == 0 else f"fails {failing} of {len(result.judgements)}"


def recovery(result: Result) -> str:
    """Seconds to recover; `never` within the case's bound."""
    if result.outcome is None:
        return "-"
    recovery_s = result.outcome.recovery_s
    return "never" if recovery_s is None else f"{recovery_s:.1f} s"


def failing(results: Iterable[Result]) -> list[str]:
    """One line per sentence that does not hold, and per case that was not carried out."""
    lines = []
    for result in results:
        if result.error:
            lines.append(f"{result.case.id} was not carried out: {result.error}")
        lines += [f"{result.case.id}: {sentence(each)}" for each in result.judgements if not each.holds]
    return lines


def sentence(judgement: Judgement) -> str:
    """What must hold, and what was found."""
    found = f" ({judgement.found})" if judgement.found else ""
    return f"{'holds' if judgement.holds else 'does not hold'}: {judgement.sentence}{found}"


def listing(cases: Sequence[Case]) -> Table:
    """The cases that there are."""
    shown = Table("id", "case", "lost/of before", "recovery before", "revisions before")
    for case in cases:
        before = case.before
        lost = f"{_or_dash(before.lost)}/{_or_dash(before.of)}"
        shown.add_row(case.id, case.words, lost, before.recovery, _or_dash(before.revisions))
    return shown


def document(results: Sequence[Result]) -> dict[str, Any]:
    """The JSON document."""
    return {"beforeCommit": BEFORE_COMMIT, "cases": [_document(result) for result in results]}


def _document(result: Result) -> dict[str, Any]:
    before, outcome = result.case.before, result.outcome
    after = None
    if outcome is not None:
        recovery_s = outcome.recovery_s
        after = {
            "lost": len(outcome.lost),
            "of": len(outcome.records),
            "recoverySeconds": None if recovery_s is None else round(recovery_s, 1),
            "revisions": len(outcome.revisions),
        }
    return {
        "id": result.case.id,
        "case": result.case.words,
        "before": {
            "lost": before.lost,
            "of": before.of,
            "recovery": before.recovery,
            "revisions": before.revisions,
        },
        "after": after,
        "holds": result.holds,
        "error": result.error,
        "judgements": [
            {"sentence": each.sentence, "holds": each.holds, "found": each.found}
            for each in result.judgements
        ],
    }


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
