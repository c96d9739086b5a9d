"""The documents agree with the program: commands exist, pasted output is real, citations can be followed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from document_blocks import fences
from typer import Typer
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from argosy.cli.app import build

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    *(file for folder in ("docs", "charts") for file in sorted((ROOT / folder).rglob("*.md"))),
]
CODE = [
    file
    for folder in ("operator", "sim", "hack", "bench", "tests", "examples", "crds", "charts")
    for suffix in ("py", "yaml")
    for file in sorted((ROOT / folder).rglob(f"*.{suffix}"))
]
PROGRAM = r"(?:\.venv/bin/)?argosy\b"
TERMINAL_COLUMNS = "110"  # as wide as the README's code blocks


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def program() -> Typer:
    """The whole command line, built once."""
    return build()


def joined(lines: Iterable[str]) -> list[str]:
    """The lines as a shell reads them: without a prompt, and a line that ends with a backslash goes on."""
    typed = "\n".join(line.removeprefix("$ ") for line in lines)
    return re.sub(r"\\\n\s*", "", typed).splitlines()


def calls(line: str) -> list[str]:
    """The arguments of each call of argosy in a line of a shell, also within a pipe or after nohup."""
    return re.findall(rf"(?:^|[|&;(]\s*|\bnohup )\s*{PROGRAM} +([^#|&;()<>]*)", line)


def written_commands() -> list[tuple[str, str]]:
    """Every call of argosy in a code block: the document, and the arguments."""
    found = [
        (name(document), words.strip().removesuffix(" 2"))  # of `2> FILE`
        for document in DOCUMENTS
        for fence in fences(document)
        for line in joined(fence.lines)
        for words in calls(line)
    ]
    return list(dict.fromkeys(found))


def mentioned_commands() -> list[tuple[str, str]]:
    """Every `argosy ...` within a sentence: parts may be missing there."""
    return [
        (name(document), words)
        for document in DOCUMENTS
        for words in re.findall(rf"`{PROGRAM} ([^`\n]+)`", document.read_text())
    ]


KUBECTL = ["sim", "kubectl"]


def our_part(words: str) -> list[str]:
    """The arguments that are Argosy's: what follows `argosy sim kubectl` is kubectl's."""
    arguments = shlex.split(words)
    return KUBECTL if arguments[:2] == KUBECTL else arguments


def parse_error(arguments: list[str]) -> str:
    """What the command line says about these arguments without running anything; empty: they are accepted."""
    if arguments == KUBECTL:  # --help is kubectl's
        arguments = ["sim"]
    runner = CliRunner(env={"COLUMNS": "200"})
    answer = runner.invoke(program(), [*arguments, "--help"])
    return "" if answer.exit_code == 0 else answer.output or str(answer.exception)


def unknown_parts(arguments: list[str]) -> list[str]:
    """The words that name no command, and the flags that the command does not have."""
    command = get_command(program())
    words = [word for word in arguments if word != "..."]
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        word = words.pop(0)
        if word == "COMMAND":
            return []
        if word not in command.commands:
            return [word]
        command = command.commands[word]
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in (*flags, "--help")]


def test_calls_are_found_wherever_a_shell_takes_them() -> None:
    typed = [
        "$ argosy plan a \\",
        "   --json | argosy top --once  # looks",
        "nohup argosy sim fleet > log 2>&1 &",
    ]
    assert [call.split() for line in joined(typed) for call in calls(line)] == [
        ["plan", "a", "--json"],
        ["top", "--once"],
        ["sim", "fleet"],
    ]


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text()
        typed = [line for fence in fences(document) for line in joined(fence.lines)]
        named = [word for line in typed for word in re.findall(r"^(?:[A-Z_]+=\S+ )*make ([a-z-]+)", line)]
        named += re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z-]+)[^`]*`", text)
        assert (name(document), [each for each in named if each not in targets]) == (name(document), [])


def test_the_documents_call_commands() -> None:
    assert len(written_commands()) >= 10
    assert len(mentioned_commands()) >= 10


@pytest.mark.parametrize(("document", "words"), written_commands())
def test_a_command_in_a_code_block_can_be_typed(document: str, words: str) -> None:
    arguments = our_part(words)
    assert (unknown_parts(arguments), parse_error(arguments)) == ([], "")


@pytest.mark.parametrize(("document", "words"), mentioned_commands())
def test_a_command_in_a_sentence_exists_with_its_flags(document: str, words: str) -> None:
    assert unknown_parts(shlex.split(words)) == []


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert unknown_parts(["perf", "guess", "--gpu"]) == ["guess"]
    assert unknown_parts(["perf", "show", "MODEL", "--gpus", "4"]) == ["--gpus"]
    assert parse_error(["sim", "upwards"]) != ""


def test_the_output_in_the_readme_is_what_the_command_prints(tmp_path: Path) -> None:
    [shown] = [fence.lines for fence in fences(ROOT / "README.md") if fence.language == "console"]
    arguments = shlex.split(shown[0].removeprefix("$ .venv/bin/argosy "))
    paths = [str(ROOT / word) if "/" in word else word for word in arguments]
    runner = CliRunner(env={"XDG_CACHE_HOME": str(tmp_path), "COLUMNS": TERMINAL_COLUMNS})
    printed = [line.rstrip() for line in runner.invoke(program(), paths).stdout.splitlines()]
    remaining = iter(printed)
    # An ellipsis stands for lines that the README leaves out: the others come in this order.
    missing = [line for line in shown[1:] if line != "..." and line not in remaining]
    assert missing == [], "\n".join(printed)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = [
        target.partition("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text())
        if not target.startswith(("http", "#"))
    ]
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_no_comment_cites_a_document_outside_the_repository() -> None:
    # Spelled in parts, so that this file does not find itself.
    outside = re.compile(
        r"the de" + r"sign,|\(de" + r"sign[ ,)]|de" + r"sign,? section|\(refer" + r"ence[ :)]|refer"
        r"ence/[a-z-]+\.md|DE" + r"SIGN(\.md)? ?\d|ST" + r"YLE\.md|revi" + r"ews/"
    )
    found = [f"{name(file)}: {match[0]}" for file in CODE for match in outside.finditer(file.read_text())]
    assert found == []


def test_cited_design_documents_and_their_sections_exist() -> None:
    headings = {
        file.name[:4]: set(re.findall(r"^## (\d+)\.", file.read_text(), re.MULTILINE))
        for file in (ROOT / "docs" / "design").glob("*.md")
    }
    dangling = []
    for file in CODE:
        text = " ".join(file.read_text().split())
        dangling += [
            f"{name(file)}: {n}" for n in re.findall(r"docs/design/(\d{4})", text) if n not in headings
        ]
        dangling += [
            f"{name(file)}: section {section} of {number}"
            for section, number in re.findall(r"[Ss]ection (\d+) of docs/design/(\d{4})", text)
            if section not in headings.get(number, set())
        ]
    assert dangling == []
