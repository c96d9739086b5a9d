"""Reading what an earlier process wrote: a value that is not as written is refused with a reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from argosy.documents import (
    Discarded,
    DiscardReason,
    Salvage,
    array,
    choice,
    column,
    differences,
    instant,
    instant_or_never,
    mapping,
    member,
    milliseconds,
    name,
    number,
    numbers,
    optional,
    positive,
    short,
    text,
    version_fault,
    whole,
)


class Colour(Enum):
    RED = "a sentence about red"


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no object": (lambda: mapping([]), "not a JSON object: []"),
    "a member that is missing": (lambda: member({}, "plan"), "plan is missing"),
    "no array": (lambda: array("ab"), "not a JSON array: 'ab'"),
    "too few entries": (lambda: array([1], 2), "1 entries, not 2"),
    "a truth value": (lambda: number(True), "not a number: True"),
    "NaN": (lambda: number(math.nan), "not a finite number from -inf to inf: nan"),
    "infinity": (lambda: number(math.inf), "not a finite number from -inf to inf: inf"),
    "an integer beyond all floats": (lambda: number(10**400), "not a finite number"),
    "a number out of bounds": (lambda: number(2, 0.0, 1.0), "not a finite number from 0 to 1: 2"),
    "one bad number of many": (lambda: numbers([1, None]), "not a number: None"),
    "zero where it divides": (lambda: positive(0), "not positive: 0"),
    "a fraction": (lambda: whole(1.0), "not a whole number: 1.0"),
    "a whole number beyond what floats count": (lambda: whole(2**60), "not a whole number"),
    "no text": (lambda: text(None), "not a text: None"),
    "an empty name": (lambda: name(""), "an empty name"),
    "an unknown choice": (lambda: choice("BLUE", Colour), "no Colour: 'BLUE'"),
    "a choice by its sentence": (lambda: choice("a sentence about red", Colour), "no Colour"),
    "an instant that is null": (lambda: instant(None), "not a whole number: None"),
    "a column with a fraction": (lambda: column([1, 0.5]), "not a whole number: 0.5"),
}


@pytest.mark.parametrize(("read", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_was_not_written_so_is_refused_with_what_was_found(
    read: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        read()


def test_instants_to_the_millisecond_are_read_again_exactly() -> None:
    at_s = [round(1_700_000_000 + 0.001 * i * i, 3) for i in range(2000)]
    assert [instant(milliseconds(each)) for each in at_s] == at_s
    assert column(json.loads(json.dumps(differences(at_s)))) == tuple(at_s)
    assert column(differences([])) == ()


def test_never_is_null() -> None:
    assert milliseconds(-math.inf) is None
    assert instant_or_never(None) == -math.inf
    assert optional(None, instant) is None


def test_whole_numbers_are_written_without_a_fraction() -> None:
    assert [json.dumps(short(each)) for each in (3.0, 0.5, -2.0, 1e300)] == ["3", "0.5", "-2", "1e+300"]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "not a JSON object"),
        ({}, "format version None, this program writes 1"),
        ({"version": 2}, "format version 2, this program writes 1"),
        ({"version": True}, "format version True, this program writes 1"),
        ({"version": 1}, ""),
    ],
)
def test_only_the_version_that_this_program_writes_is_read(document: object, fault: str) -> None:
    found = version_fault(document, 1, "all of it")
    assert ("" if found is None else found.message) == fault
    assert found is None or found.what == "all of it"


def test_what_is_damaged_is_discarded_by_its_name_and_the_rest_is_kept() -> None:
    salvage = Salvage()
    assert salvage.part("the plan", lambda: text(3), "none") == "none"
    assert salvage.values("rate of class", lambda: {"a": 1, "b": "?", "c": 3}, number) == {"a": 1.0, "c": 3.0}
    assert salvage.entries("silent pod", lambda: ["x", None], text) == ("x",)
    assert salvage.values("rate of class", lambda: None, number) == {}
    assert salvage.discarded == [
        Discarded(DiscardReason.BAD_VALUE, "not a text: 3", what="the plan"),
        Discarded(DiscardReason.BAD_VALUE, "not a number: '?'", what="rate of class b"),
        Discarded(DiscardReason.BAD_VALUE, "not a text: None", what="silent pod 1"),
        Discarded(DiscardReason.BAD_VALUE, "not a JSON object: None", what="every rate of class"),
    ]
