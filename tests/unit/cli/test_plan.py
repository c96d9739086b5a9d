"""`argosy plan`: the operator's decision from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from argosy.cli.app import build

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run(cache: Path, *arguments: object) -> tuple[int, str]:
    answer = CliRunner(env={"XDG_CACHE_HOME": str(cache), "COLUMNS": "120"}).invoke(
        build(), ["plan", *map(str, arguments)]
    )
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.exit_code, answer.stdout


def test_the_small_example_takes_three_l40s_for_chat_and_one_for_batch(cache: Path) -> None:
    code, text = run(cache, EXAMPLES / "small", EXAMPLES / "nodes.yaml", "--json")
    spec = json.loads(text)["spec"]
    found = {(d["workloadClass"], d["pool"]): d["replicas"] for d in spec["deployments"]}
    assert (code, found) == (0, {("default/chat", "l40s"): 3, ("default/batch", "l40s"): 1})


def test_the_printed_plan_gives_its_reasons_and_what_was_not_taken(cache: Path) -> None:
    code, text = run(cache, EXAMPLES / "small", EXAMPLES / "nodes.yaml")
    words = " ".join(text.split())
    assert code == 0
    assert "default/chat asks 8.0 req/s" in words
    assert "not taken: default/chat on" in words


def test_without_nodes_the_exit_code_is_one_and_the_missing_nodes_are_named(cache: Path) -> None:
    code, text = run(cache, EXAMPLES / "small")
    words = " ".join(text.split())
    assert code == 1
    assert "gpupools l40s: Ready is False: spec.nodeSelector: no usable node carries" in words
