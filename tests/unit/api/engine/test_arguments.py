"""What an engine's arguments say of a flag, in every form that vLLM's parser takes."""

from __future__ import annotations

import pytest

from argosy.api.engine.arguments import switch, value_of


@pytest.mark.parametrize(
    ("args", "value"),
    [
        pytest.param((), None, id="absent"),
        pytest.param(("--spec-method", "mtp"), "mtp", id="two words"),
        pytest.param(("--spec-method=mtp",), "mtp", id="one word"),
        pytest.param(("--spec_method", "mtp"), "mtp", id="underscores"),
        pytest.param(("--spec-method=a=b",), "a=b", id="a value with an equals sign"),
        pytest.param(("--spec-method", "a", "--spec-method=b"), "b", id="the last counts"),
        pytest.param(("--x", "--spec-method"), "", id="without its value"),
        pytest.param(("--spec-method-x", "mtp"), None, id="another flag"),
    ],
)
def test_a_value(args: tuple[str, ...], value: str | None) -> None:
    assert value_of(args, "--spec-method") == value


@pytest.mark.parametrize(
    ("args", "is_on"),
    [
        pytest.param((), None, id="absent"),
        pytest.param(("--enforce-eager",), True, id="on"),
        pytest.param(("--enforce_eager",), True, id="underscores"),
        pytest.param(("--no-enforce-eager",), False, id="off"),
        pytest.param(("--enforce-eager", "--no-enforce-eager"), False, id="the last counts"),
        pytest.param(("enforce-eager",), None, id="no flag"),
    ],
)
def test_a_switch(args: tuple[str, ...], is_on: bool | None) -> None:
    assert switch(args, "--enforce-eager") is is_on
