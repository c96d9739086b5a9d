"""Reading fields of a parsed report, and refusing by name what cannot be a measurement.

Owns the check of every number that enters a row: NaN, infinite, negative and zero quantities are
refused with the row and the field, a missing one is None or refused where a row cannot do without
it. A percentile that is NaN or infinite is left out alone: the row has its mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.perf.measurements.rows import (
    Latency,
    LeftOut,
    Measurement,
    RefusedError,
    TokenLengths,
    UnreadableReason,
)

# No measurement, and a whole number may be too large even to become a float.
TOO_LARGE = 1e15


@dataclass(frozen=True, slots=True)
class ReportFields:
    """A JSON object and its place in the report (`row`), with checked access.

    Paths are dotted: `metrics.time_to_first_token_ms.successful`.
    """

    values: Mapping[str, Any]
    row: str

    def inside(self, path: str) -> ReportFields:
        """The object at `path`; an empty one where there is none."""
        found = self.raw(path)
        return ReportFields(found if isinstance(found, Mapping) else {}, f"{self.row}, {path}")

    def raw(self, path: str) -> Any:
        """Whatever is at `path`; None where nothing is."""
        found: Any = self.values
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def text(self, path: str) -> str | None:
        """A string that is not empty, else None."""
        found = self.raw(path)
        return found if isinstance(found, str) and found else None

    def optional(self, path: str, factor: float = 1.0) -> float | None:
        """A positive number times `factor` (a change of unit), None where it is missing."""
        found = self.raw(path)
        return None if found is None else positive(found, self.row, path) * factor

    def required(self, path: str, factor: float = 1.0) -> float:
        """A positive number that a row cannot do without. Raises RefusedError where it is missing or is
        none.
        """
        found = self.optional(path, factor)
        if found is None:
            raise RefusedError(UnreadableReason.INCOMPLETE, f"{self.row}: {path} is missing")
        return found

    def count(self, path: str) -> int | None:
        """A positive whole number, None where it is missing."""
        found = self.optional(path)
        return None if found is None else self._whole(found, path)

    def required_count(self, path: str) -> int:
        """A positive whole number that a row cannot do without."""
        return self._whole(self.required(path), path)

    def _whole(self, number: float, path: str) -> int:
        if number != int(number):
            raise _bad(self.row, path, number, "a whole number")
        return int(number)

    def spread(self, path: str) -> float | None:
        """A standard deviation: zero is one; that of a single request may be NaN, which is unknown."""
        found = self.raw(path)
        return None if found is None or _is_no_number(found) else not_negative(found, self.row, path)

    def lengths(self, mean: str, std: str) -> TokenLengths:
        """Tokens per request."""
        return TokenLengths(self.required(mean), self.spread(std))

    def latency(self, names: Mapping[str, str], factor: float = 1.0) -> Latency | None:
        """From the fields that `names` gives for `Latency`'s own."""
        unread = tuple(
            theirs for ours, theirs in names.items() if ours != "mean_ms" and _is_no_number(self.raw(theirs))
        )
        found = {
            ours: self.optional(theirs, factor) for ours, theirs in names.items() if theirs not in unread
        }
        return Latency(**found, unread=unread).or_none()

    def some(self, path: str) -> int | None:
        """A count of which zero is one; None where it is missing or is no whole number."""
        found = self.raw(path)
        is_count = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < TOO_LARGE
        return int(found) if is_count else None

    def seconds(self, path: str) -> float | None:
        """A duration; None where it is missing or is none."""
        found = _number(self.raw(path))
        return found if found is not None and found > 0 else None


def each(
    entries: Iterable[ReportFields], row: Callable[[ReportFields], Measurement]
) -> tuple[tuple[Measurement, ...], tuple[LeftOut, ...]]:
    """The rows of a report, and those of its entries that make none, with the reason."""
    rows: list[Measurement] = []
    left_out: list[LeftOut] = []
    for entry in entries:
        try:
            rows.append(row(entry))
        except RefusedError as refusal:
            left_out.append(LeftOut(refusal.fault.reason, refusal.fault.message))
    return tuple(rows), tuple(left_out)


def positive(value: object, row: str, field: str) -> float:
    """A number above zero and below `TOO_LARGE`. Raises RefusedError with row and field."""
    number = _number(value)
    if number is None or not number > 0:
        raise _bad(row, field, value, "a positive number")
    return number


def not_negative(value: object, row: str, field: str) -> float:
    """Zero or more, and below `TOO_LARGE`. Raises RefusedError with row and field."""
    number = _number(value)
    if number is None or not number >= 0:
        raise _bad(row, field, value, "zero or a positive number")
    return number


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < TOO_LARGE:
        return None
    return float(value)


def _is_no_number(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _bad(row: str, field: str, value: object, wanted: str) -> RefusedError:
    shown = repr(value) if len(repr(value)) < 40 else f"{repr(value)[:40]}..."
    is_too_large = isinstance(value, int | float) and TOO_LARGE <= value < math.inf
    bound = f" below {TOO_LARGE:g}" if is_too_large else ""
    return RefusedError(UnreadableReason.BAD_VALUE, f"{row}: {field} must be {wanted}{bound}, got {shown}")
