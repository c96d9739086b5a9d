"""Which machine code a kernel accepts from disk: that of the same functions and the same constants."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

from argosy.engine.compiled import Kernel
from argosy.engine.twin import layout

TABLE = np.array([1, 2, 3], dtype=np.int64)


class _Columns(NamedTuple):
    first: int


class _OtherColumns(NamedTuple):
    second: int


def _hash_with(constants: dict[str, object]) -> str:
    """The hash that an entry closes over, of a kernel without functions over these constants."""
    module = ModuleType("constants")
    vars(module).update(constants)
    found: list[str] = []

    def make(content: str) -> Callable[[int], int]:
        found.append(content)
        return lambda number: number

    Kernel(module).entry("int64(int64)", make)
    return found[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"BITS": 32}, {"BITS": 64}, id="a number"),
        pytest.param({"Columns": _Columns}, {"Columns": _OtherColumns}, id="the fields of a tuple"),
        pytest.param({"TABLE": TABLE}, {"TABLE": TABLE + 1}, id="the values of an array"),
        pytest.param({"TABLE": TABLE}, {"TABLE": TABLE.astype(np.float64)}, id="the type of an array"),
        pytest.param(
            {"TABLE": TABLE}, {"TABLE": TABLE.view(np.float64)}, id="the type of an array of the same bytes"
        ),
        pytest.param({"TABLE": TABLE}, {"TABLE": TABLE.reshape(3, 1)}, id="the shape of an array"),
        pytest.param({"TABLE": TABLE}, {"OTHER": TABLE}, id="the name of an array"),
    ],
)
def test_another_constant_is_another_hash(one: dict[str, object], other: dict[str, object]) -> None:
    assert _hash_with(one) == _hash_with(dict(one))
    assert _hash_with(one) != _hash_with(other)


def test_the_table_of_the_twin_is_part_of_its_hash() -> None:
    zeroed = {**vars(layout), "BIT_BY_REMAINDER": np.zeros_like(layout.BIT_BY_REMAINDER)}
    assert _hash_with(zeroed) != _hash_with(dict(vars(layout)))


def test_the_table_of_the_twin_names_every_bit_of_a_word() -> None:
    """A power of two modulo 37 is the place of its exponent."""
    found = [int(layout.BIT_BY_REMAINDER[(1 << bit) % 37]) for bit in range(layout.BITS)]
    assert found == list(range(layout.BITS))
