"""Every command block of README and the quick start belongs to a path; a path is walked as it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from document_blocks import (
    COMMANDS,
    INSTALL,
    QUICKSTART,
    REPOSITORY,
    BlockError,
    Checkout,
    fences,
    first_missing,
    require_known,
    steps,
    walk,
)
from waiting import until

README = REPOSITORY / "README.md"
ELSEWHERE = {
    "make demo     # the whole loop on real components, about six minutes": "tests/e2e/test_story.py runs it",
    "$ .venv/bin/argosy plan examples/small examples/nodes.yaml": "tests/unit/test_docs.py compares it",
}
"""Blocks that no path runs, by their first line, and why."""


def written(directory: Path, text: str) -> Path:
    document = directory / "document.md"
    document.write_text(text)
    return document


def checkout(directory: Path, limit_s: float = 20.0) -> Checkout:
    place = directory / "clone"
    place.mkdir()
    return Checkout(place, {"PATH": os.environ["PATH"]}, limit_s)


@pytest.mark.parametrize("document", [README, QUICKSTART], ids=lambda file: file.name)
def test_every_command_block_belongs_to_a_path_or_is_run_elsewhere(document: Path) -> None:
    for fence in fences(document):
        require_known(fence)
    free = [f for f in fences(document) if f.language in COMMANDS and f.path is None]
    assert [str(fence) for fence in free if fence.lines[0] not in ELSEWHERE] == []


def test_no_block_is_excused_that_is_not_there() -> None:
    first_lines = {fence.lines[0] for document in (README, QUICKSTART) for fence in fences(document)}
    assert set(ELSEWHERE) <= first_lines


@pytest.mark.parametrize("path", ["embedded", "kind", "cluster"])
def test_the_quick_start_has_commands_for_each_path(path: str) -> None:
    assert any(fence.path == path for fence in fences(QUICKSTART))


def test_the_installation_without_helm_is_a_path_that_kind_can_walk() -> None:
    typed = [step.commands for step in steps(INSTALL, "hand")]
    assert "hack/kind.sh cluster" in typed[0]
    assert "hack/kind.sh down" in typed[-1]


def test_a_path_is_its_own_blocks_and_those_of_every_path_in_order(tmp_path: Path) -> None:
    document = written(
        tmp_path,
        "```sh every\nNAME=sea\n```\n```sh kind\nfalse\n```\n```yaml\na: 1\n```\n"
        "```console embedded\n$ echo $NAME\nsea\n$ echo a; echo b\na\n...\n```\n",
    )
    found = steps(document, "embedded")
    assert [(step.commands, step.expected) for step in found] == [
        ("NAME=sea", None),
        ("echo $NAME", ("sea",)),
        ("echo a; echo b", ("a", "...")),
    ]
    assert [step.where for step in found] == ["document.md:2", "document.md:11", "document.md:13"]
    assert walk(found, checkout(tmp_path)) == ["", "sea\n", "a\nb\n"]


def test_a_job_in_the_background_is_seen_by_later_blocks_and_ends_with_the_shell(tmp_path: Path) -> None:
    document = written(
        tmp_path,
        "```sh embedded\nsleep 60 &\n```\n```sh embedded\necho $!\nkill %1\nsleep 61 & echo $!\n```\n",
    )
    [_, said] = walk(steps(document, "embedded"), checkout(tmp_path))
    for pid in said.split():
        until(lambda pid=pid: not is_alive(pid), f"the end of {pid}")


def is_alive(pid: str) -> bool:
    """Whether a process runs: one that has ended may be listed until its new parent has looked."""
    status = Path("/proc", pid, "stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```sh kind\necho first\ntrue\n```\n```sh kind\nls /nowhere\n```\n", "document.md:6 ended with 2:"),
        ("```sh kind\necho $NO_SUCH_NAME\n```\n", "NO_SUCH_NAME: unbound variable"),
        ("```console kind\n$ echo a\nb\n```\n", "document.md:2: 'b' was not printed by echo a:\na"),
        ("```sh kind\nsleep 30\n```\n", "document.md:2 went on after 0.5 s:\nsleep 30"),
    ],
    ids=["command", "variable", "output", "time"],
)
def test_a_step_that_fails_is_named_with_its_line(tmp_path: Path, block: str, said: str) -> None:
    limit_s = 0.5 if "sleep" in block else 20.0
    with pytest.raises(AssertionError) as caught:
        walk(steps(written(tmp_path, block), "kind"), checkout(tmp_path, limit_s))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```\nls\n```\n", "language '' is none of"),
        ("```bash kind\nls\n```\n", "language 'bash' is none of"),
        ("```sh knid\nls\n```\n", "a block of sh has no path 'knid'"),
        ("```yaml kind\na: 1\n```\n", "a block of yaml has no path 'kind'"),
        ("```console kind\nls\n```\n", "begins with a command"),
    ],
)
def test_a_block_that_belongs_nowhere_is_refused(tmp_path: Path, block: str, said: str) -> None:
    [fence] = fences(written(tmp_path, block))
    with pytest.raises(BlockError, match=said):
        require_known(fence)


def test_a_misspelt_path_is_refused_in_any_document(tmp_path: Path) -> None:
    document = written(tmp_path, "```\nany\n```\n```sh knid\nls\n```\n")
    with pytest.raises(BlockError, match=r"document.md:5: a block of sh has no path 'knid'"):
        steps(document, "kind")


@pytest.mark.parametrize(
    ("expected", "printed", "missing"),
    [
        (["a  b"], "a      b\n", None),
        (["a ... c"], "a with b and c\n", None),
        (["took ...s"], "took 12s\n", None),
        (["a", "...", "c"], "a\nb\nb\nc\n", None),
        (["a", "..."], "a\nb\n", None),
        (["...", "c"], "a\nc\nd\n", "the end, after 2 lines"),
        (["a"], "a\nb\n", "the end, after 1 lines"),
        (["a", "c"], "a\nb\nc\n", "c"),
        (["a (1)"], "a 1\n", "a (1)"),
        (["a"], "", "a"),
    ],
)
def test_what_is_shown_is_compared_line_by_line(
    expected: list[str], printed: str, missing: str | None
) -> None:
    assert first_missing(expected, printed) == missing
