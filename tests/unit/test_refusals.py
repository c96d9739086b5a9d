"""A refusal is a value that prints as its sentence."""

from __future__ import annotations

from enum import StrEnum

from argosy.refusals import Refused


class Why(StrEnum):
    TOO_LONG = "TooLong"


class TooLong(Refused[Why]):
    """One kind of refusal among several."""

    __slots__ = ()


def test_a_refusal_prints_as_its_sentence() -> None:
    assert str(Refused(Why.TOO_LONG, "the prompt has 9 tokens; at most 8 fit")) == (
        "the prompt has 9 tokens; at most 8 fit"
    )


def test_refusals_with_the_same_content_are_equal() -> None:
    assert Refused(Why.TOO_LONG, "no", ("8",)) == Refused(Why.TOO_LONG, "no", ("8",))
    assert Refused(Why.TOO_LONG, "no", ("8",)) != Refused(Why.TOO_LONG, "no")


def test_a_kind_of_refusal_is_told_apart_by_its_class() -> None:
    found = TooLong(Why.TOO_LONG, "no")
    assert isinstance(found, Refused)
    assert (str(found), found.nearest) == ("no", ())
    assert found != Refused(Why.TOO_LONG, "no")
