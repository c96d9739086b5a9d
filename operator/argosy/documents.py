"""Reading a JSON document that an earlier process of Argosy wrote.

Owns the checks of its values, and `Salvage`: what is damaged, or of another format, is discarded with a
reason, and the rest is kept. Input: what `json.loads` returned, so numbers may be NaN or of any size.
Output: values, and a `Discarded` for each part that cannot be used. Every function that reads a value
raises ValueError, with the value found and the value needed; `Salvage` catches it.

Instants (seconds since the epoch) are written as whole milliseconds: that is the resolution of
`reconcile.clock`, so such an instant is read again exactly. Minus infinity, "never", is written as null.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from itertools import accumulate, pairwise
from typing import Any, TypeVar

from argosy.refusals import Refused

LARGEST = 2.0**53
"""Up to here a float counts exactly; no count, rate or time in ms that is written is larger."""

E = TypeVar("E", bound=Enum)
T = TypeVar("T")


class DiscardReason(StrEnum):
    """Why something remembered is not used."""

    OTHER_FORMAT = "OtherFormat"
    BAD_VALUE = "BadValue"
    OUTDATED = "Outdated"
    """It is about something that has changed since, such as a profile with other step times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded(Refused[DiscardReason]):
    """Something remembered is not used any more, and why. `what`: the part, such as one calibration."""

    what: str


@dataclass(slots=True)
class Salvage:
    """Reads a document part by part, and keeps a list of the parts that it had to discard."""

    discarded: list[Discarded] = field(default_factory=list)

    def part(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        """What `read` returns; `otherwise` where it raises ValueError."""
        try:
            return read()
        except ValueError as error:
            self.discarded.append(Discarded(DiscardReason.BAD_VALUE, str(error), what=what))
            return otherwise

    def values(self, what: str, found: Callable[[], object], read: Callable[[Any], T]) -> dict[str, T]:
        """The values of a JSON object by their names, each read and discarded by itself."""
        named: Mapping[str, Any] = self.part(f"every {what}", lambda: mapping(found()), {})
        return {
            key: value for key, each in named.items() for value in self._each(f"{what} {key}", each, read)
        }

    def entries(self, what: str, found: Callable[[], object], read: Callable[[Any], T]) -> tuple[T, ...]:
        """The entries of a JSON array, each read and discarded by itself."""
        listed: list[Any] = self.part(f"every {what}", lambda: array(found()), [])
        return tuple(
            value for i, each in enumerate(listed) for value in self._each(f"{what} {i}", each, read)
        )

    def _each(self, what: str, found: object, read: Callable[[Any], T]) -> tuple[T, ...]:
        """One value, or none where it was discarded."""
        return self.part(what, lambda: (read(found),), ())


def version_fault(document: object, version: int, what: str) -> Discarded | None:
    """Why a document as a whole cannot be read by a program that writes `version`; None if it can."""
    if not isinstance(document, Mapping):
        return Discarded(DiscardReason.BAD_VALUE, "not a JSON object", what=what)
    found = document.get("version")
    if found != version or isinstance(found, bool):
        message = f"format version {found!r}, this program writes {version}"
        return Discarded(DiscardReason.OTHER_FORMAT, message, what=what)
    return None


def member(found: object, name: str) -> Any:
    """The value of `name` in a JSON object. Raises ValueError."""
    try:
        return mapping(found)[name]
    except KeyError as error:
        raise ValueError(f"{name} is missing") from error


def mapping(found: object) -> Mapping[str, Any]:
    """A JSON object. Raises ValueError."""
    if not isinstance(found, Mapping):
        raise ValueError(f"not a JSON object: {_shown(found)}")
    return found


def array(found: object, length: int | None = None) -> list[Any]:
    """A JSON array, of `length` entries where that is given. Raises ValueError."""
    if not isinstance(found, list):
        raise ValueError(f"not a JSON array: {_shown(found)}")
    if length is not None and len(found) != length:
        raise ValueError(f"{len(found)} entries, not {length}")
    return found


def number(found: object, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number within bounds. Raises ValueError."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"not a number: {_shown(found)}")
    # An int may be too large for a float; a comparison takes it, and is false for NaN.
    if not (max(least, -sys.float_info.max) <= found <= min(most, sys.float_info.max)):
        raise ValueError(f"not a finite number from {least:g} to {most:g}: {_shown(found)}")
    return float(found)


def numbers(found: object, least: float = -math.inf, most: float = math.inf) -> tuple[float, ...]:
    """An array of finite numbers within bounds. Raises ValueError."""
    return tuple(number(value, least, most) for value in array(found))


def positive(found: object) -> float:
    """A finite number above 0. Raises ValueError."""
    value = number(found)
    if value <= 0:
        raise ValueError(f"not positive: {value:g}")
    return value


def whole(found: object) -> int:
    """A whole number up to `LARGEST`, of either sign. Raises ValueError."""
    if isinstance(found, bool) or not isinstance(found, int) or abs(found) > LARGEST:
        raise ValueError(f"not a whole number: {_shown(found)}")
    return found


def text(found: object) -> str:
    """A text, which may be empty. Raises ValueError."""
    if not isinstance(found, str):
        raise ValueError(f"not a text: {_shown(found)}")
    return found


def name(found: object) -> str:
    """A text that is not empty. Raises ValueError."""
    if not text(found):
        raise ValueError("an empty name")
    return text(found)


def choice(found: object, kind: type[E]) -> E:
    """The member of `kind` by its name, as its value may be a sentence. Raises ValueError."""
    try:
        return kind[text(found)]
    except KeyError as error:
        raise ValueError(f"no {kind.__name__}: {_shown(found)}") from error


def optional(found: object, read: Callable[[Any], T]) -> T | None:
    """None for null, else what `read` returns. Raises what it raises."""
    return None if found is None else read(found)


def instant(found: object) -> float:
    """An instant, seconds. Raises ValueError."""
    return whole(found) / 1000


def instant_or_never(found: object) -> float:
    """An instant, seconds; minus infinity for null. Raises ValueError."""
    return -math.inf if found is None else instant(found)


def column(found: object) -> tuple[float, ...]:
    """Numbers that were written by `differences`. Raises ValueError."""
    return tuple(thousandths / 1000 for thousandths in accumulate(whole(value) for value in array(found)))


def milliseconds(at_s: float) -> int | None:
    """An instant as it is written; None for minus infinity."""
    return None if at_s == -math.inf else round(at_s * 1000)


def differences(values: Iterable[float]) -> list[int]:
    """A column of numbers with three decimals, such as instants, as it is written: in thousandths the
    first, then the distance of each from the one before.
    """
    rounded = [round(value * 1000) for value in values]
    return [*rounded[:1], *(after - before for before, after in pairwise(rounded))]


def short(value: float) -> float:
    """A finite number as it is written: a whole one without `.0`."""
    return int(value) if abs(value) < LARGEST and value == int(value) else value


def _shown(found: object) -> str:
    """A value in a message, cut: it may be of any size."""
    return reprlib.repr(found)
