"""The error tree as it is drawn is the error tree as it is."""

from __future__ import annotations

import re

import pytest

from argosy import errors
from argosy.errors import ActuationError, ArgosyError, NextStep, SpecError


def all_errors(kind: type[ArgosyError] = ArgosyError) -> set[type[ArgosyError]]:
    """An error class and all below it that `argosy` itself defines."""
    below = {e for sub in kind.__subclasses__() for e in all_errors(sub)}
    return {e for e in {kind} | below if e.__module__.startswith("argosy.")}


def drawn_tree() -> dict[str, str]:
    """Class name -> the name of its parent, read from the drawing."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^( {4}(?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+Error)\b", line)
        if found:
            depth = (len(found[1]) - 4) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1] if depth else ""
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    real = {e.__name__: "" if e is ArgosyError else e.__mro__[1].__name__ for e in all_errors()}
    assert drawn_tree() == real
    assert len(real) >= 5


def test_every_error_says_what_it_is_for() -> None:
    assert [e.__name__ for e in all_errors() if not (e.__doc__ or "").strip()] == []


@pytest.mark.parametrize(
    ("field", "said"),
    [("--envoy", "--envoy: is wrong"), ("", "is wrong")],
    ids=["of a field", "of the whole"],
)
def test_a_spec_error_names_its_field(field: str, said: str) -> None:
    error = SpecError("is wrong", field)
    assert (str(error), error.field) == (said, field)


def test_an_actuation_error_knows_what_comes_next() -> None:
    assert ActuationError("no", NextStep.REPLAN).next_step is NextStep.REPLAN
