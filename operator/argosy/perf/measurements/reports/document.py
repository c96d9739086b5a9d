"""A file's content, parsed as far as that needs no knowledge of any tool.

Owns bytes -> text -> JSON, JSON lines, plain text, or the cells of a table.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.perf.measurements.rows import LeftOut, Measurement, RefusedError, UnreadableReason


@dataclass(frozen=True, slots=True)
class Document:
    """What readers look at.

    objects: the JSON objects of the file: one, those of a list, or one per line; empty for text
    broken:  what is wrong with the lines that are no JSON, where others are (a file that was cut off)
    """

    text: str
    objects: tuple[Mapping[str, Any], ...]
    broken: tuple[str, ...] = ()

    @property
    def only(self) -> Mapping[str, Any]:
        """The object of a file that holds exactly one; an empty one for any other file."""
        return self.objects[0] if len(self.objects) == 1 else {}

    @property
    def header(self) -> str:
        """The first line that is neither empty nor a comment (#)."""
        lines = (line.strip() for line in self.text.splitlines())
        return next((line for line in lines if line and not line.startswith("#")), "")

    def row(self, index: int, word: str) -> str:
        """Where an object is, for messages: nothing to count in a file that holds one."""
        return f"{word} {index + 1}" if len(self.objects) > 1 else "the report"


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """What a reader found in a document."""

    rows: tuple[Measurement, ...]
    tool_version: str | None = None
    model: str | None = None
    gpu: str | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def parse(content: bytes) -> Document:
    """Raises RefusedError for what is no text, and for JSON that breaks off."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise RefusedError(UnreadableReason.BROKEN, f"not UTF-8 text: {fault}") from fault
    if not text.strip():
        raise RefusedError(UnreadableReason.BROKEN, "the file is empty")
    if text.lstrip()[0] not in "{[":
        return Document(text, ())
    objects, broken = _objects(text)
    return Document(text, objects, broken)


def digest(content: bytes) -> str:
    """SHA-256 of the file, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def cells(text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The lines of a table that have cells, with their numbers. Raises RefusedError for no table."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
    try:
        for line in reader:
            if line:
                yield reader.line_num, line
    except csv.Error as fault:
        message = f"line {reader.line_num} is no line of a table: {fault}"
        raise RefusedError(UnreadableReason.BROKEN, message) from fault


def _json(text: str) -> Any:
    """Raises ValueError for broken JSON, RefusedError for what no parser can hold."""
    try:
        return json.loads(text)
    except RecursionError as fault:
        raise RefusedError(UnreadableReason.BROKEN, "nested too deeply for a report") from fault


def _objects(text: str) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """The objects, and what is wrong with lines that hold none."""
    try:
        whole = _json(text)
    except ValueError as fault:
        return _lines(text, fault)
    found = whole if isinstance(whole, list) else [whole]
    return tuple(value for value in found if isinstance(value, Mapping)), ()


def _lines(text: str, whole_fault: ValueError) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """One object per line; where not even the first line is one, the file is broken JSON."""
    objects: list[Mapping[str, Any]] = []
    broken: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = _json(line)
        except ValueError as fault:
            if not objects:
                raise RefusedError(UnreadableReason.BROKEN, f"broken JSON: {whole_fault}") from fault
            broken.append(f"line {number} is no JSON: {fault}")
            continue
        if isinstance(value, Mapping):
            objects.append(value)
    return tuple(objects), tuple(broken)
