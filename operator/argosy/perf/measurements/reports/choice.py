"""Which reader a file is for: the only one that recognises its content.

Owns the noun `Reader` and the choice. Input: a document and the readers of one kind of file. Output: the
reader, or a refusal that tells what can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from argosy.perf.measurements.reports.document import Document
from argosy.perf.measurements.rows import RefusedError, UnreadableReason

Named = TypeVar("Named", bound=str)
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Reader(Generic[Named, Parsed]):
    """Of one tool's files. understands: which these are, in words for users."""

    tool: Named
    understands: str
    recognise: Callable[[Document], bool]
    read: Callable[[Document], Parsed]


def only_reader(
    readers: Sequence[Reader[Named, Parsed]], document: Document, kind: str
) -> Reader[Named, Parsed]:
    """The only reader that recognises the document. kind: of file, in words for users.

    Raises RefusedError where there is none, or more than one.
    """
    found = [reader for reader in readers if reader.recognise(document)]
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(reader.understands for reader in found)
        raise RefusedError(UnreadableReason.AMBIGUOUS, f"the file could be {both}")
    if document.broken:
        raise RefusedError(UnreadableReason.BROKEN, document.broken[0])
    understood = "; ".join(reader.understands for reader in readers)
    message = f"no {kind} that is understood here; those are: {understood}"
    raise RefusedError(UnreadableReason.UNKNOWN_FORMAT, message)
