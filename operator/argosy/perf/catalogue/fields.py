"""Reading a config.json with suspicion.

Owns the reader that turns a JSON mapping into numbers or into a fault with the field's name.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from argosy.refusals import Refused

_MOST = 2**40
"""No count or dimension of a model is near it, and products of several are still finite floats."""


class ConfigFaultReason(StrEnum):
    """Why a config.json describes no architecture."""

    MISSING_FIELD = "MissingField"
    BAD_VALUE = "BadValue"
    """A value of another kind, or one that contradicts the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFault(Refused[ConfigFaultReason]):
    """Why a config.json describes no architecture. The sentence names `field`, by its path."""

    field: str


class UnreadableFieldError(Exception):
    """Carries a fault out of the readers; never leaves the package."""

    def __init__(
        self, field: str, message: str, reason: ConfigFaultReason = ConfigFaultReason.BAD_VALUE
    ) -> None:
        super().__init__(f"{field}: {message}")
        self.fault = ConfigFault(reason, f"{field}: {message}", field=field)


@dataclass(frozen=True, slots=True)
class ConfigFields:
    """The fields of one configuration. Absent and null are the same.

    values: as written, and what the model type assumes; used: the names that were asked for and found
    A list with one number per layer counts as that number where all are the same.

    Methods raise UnreadableFieldError, with the field's path, for a value of another kind than asked for.
    """

    values: Mapping[str, Any]
    path: str = ""
    used: set[str] = field(default_factory=set)

    def use(self, *names: str) -> None:
        """Mark fields as understood."""
        self.used.update(names)

    def number(self, *names: str, default: int | None = None) -> int:
        """The first of the fields that is there: a positive whole number (or `default`).

        Raises UnreadableFieldError where none is there and no default is given, or it holds something else.
        """
        name = self._first(names)
        if name is None:
            if default is None:
                raise UnreadableFieldError(
                    self.path + names[0], "is missing", ConfigFaultReason.MISSING_FIELD
                )
            return default
        return self._whole(name, minimum=1)

    def count(self, *names: str) -> int:
        """The first of the fields that is there: a whole number, zero where none is.

        Raises UnreadableFieldError where it holds something else.
        """
        name = self._first(names)
        return 0 if name is None else self._whole(name, minimum=0)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean. Raises UnreadableFieldError for something else."""
        self.use(name)
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise UnreadableFieldError(self.path + name, f"must be true or false, not {value!r}")
        return value

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return default
        self.use(name)
        return value

    def sequence(self, name: str) -> list[Any]:
        """A list, empty where there is none."""
        value = self.values.get(name)
        if not isinstance(value, list | tuple):
            return []
        self.use(name)
        return list(value)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def _first(self, names: tuple[str, ...]) -> str | None:
        self.use(*names)
        return next((name for name in names if self.has(name)), None)

    def _whole(self, name: str, minimum: int) -> int:
        value = self.values[name]
        if isinstance(value, list) and value and all(entry == value[0] for entry in value):
            value = value[0]
        if isinstance(value, list):
            found = f"{reprlib.repr(value)}: layers that differ"
            raise UnreadableFieldError(self.path + name, f"must be the same in every layer, not {found}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnreadableFieldError(self.path + name, f"must be a number, not {value!r}")
        if not minimum <= value <= _MOST or value != int(value):
            wanted = "a positive whole number" if minimum else "a whole number, zero or more"
            found = reprlib.repr(value)  # JSON may hold an integer of thousands of digits
            raise UnreadableFieldError(self.path + name, f"must be {wanted} of at most {_MOST}, not {found}")
        return int(value)
