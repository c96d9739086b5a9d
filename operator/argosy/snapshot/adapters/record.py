"""What an engine holds of LoRA adapters, as an annotation of its pod.

Owns the annotation's text and the way back. The leader writes it after each load and before each unload, so
every replica of the operator routes by it, and it ends with the pod. An engine that restarts holds nothing:
the record is of one start of the engine. Input: text. Output: `AdapterRecord`, or None for what is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ANNOTATION_ADAPTERS = "argosy.dev/adapters"

MOST_WORDS = 300
"""Characters of an engine's words that are kept."""


_SLOTS = re.compile(r"--max[-_]loras[=\s]+(\S+)")
_RANK = re.compile(r"--max[-_]lora[-_]rank[=\s]+(\S+)")
_ENABLED = re.compile(r"--enable[-_]lora(?=\s|=|$)")
_VLLMS_SLOTS, _VLLMS_RANK = 1, 16
"""What vLLM takes where LoRA is on and the flag is not given."""


@dataclass(frozen=True, slots=True)
class LoraLimits:
    """What an engine was started with.

    slots: adapters that it holds at once; 0: LoRA is off
    rank:  of an adapter, at most
    """

    slots: int
    rank: int


def lora_limits(words: Iterable[object]) -> LoraLimits | None:
    """The limits in a container's command and arguments; None where there are no words, or where one holds a
    value that only the kubelet knows, such as $(SLOTS)."""
    text = " ".join(map(str, words))
    if not text:
        return None
    if not _ENABLED.search(text):
        return LoraLimits(0, 0)
    slots, rank = _last(_SLOTS, text, _VLLMS_SLOTS), _last(_RANK, text, _VLLMS_RANK)
    return None if slots is None or rank is None else LoraLimits(slots, rank)


def _last(flag: re.Pattern[str], text: str, default: int) -> int | None:
    """vLLM uses the last one of a flag that is given several times."""
    found = [*flag.findall(text)]
    if not found:
        return default
    value = str(found[-1]).strip("\"'")
    return int(value) if value.isdecimal() else None


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """That an engine did not load an adapter.

    source:     that was tried; another one is tried at once
    words:      the engine's, or why there are none
    tries:      in a row
    retry_at_s: when it is tried again (seconds since the epoch)
    """

    source: str
    words: str
    tries: int
    retry_at_s: float


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """What one start of an engine holds.

    exits:   how often the engine had ended before (`PodState.exits`)
    held:    adapters that take requests, with their source
    leaving: adapters that take none any more and are not unloaded yet: since when (seconds since the epoch)
    failed:  adapters that it did not load
    """

    exits: int
    held: Mapping[str, str] = field(default_factory=dict)
    leaving: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, LoadFailure] = field(default_factory=dict)


def record_text(record: AdapterRecord) -> str:
    """The annotation's value: the same text for the same record."""
    failed = {
        name: [each.source, each.words[:MOST_WORDS], each.tries, round(each.retry_at_s, 1)]
        for name, each in record.failed.items()
    }
    leaving = {name: round(since_s, 1) for name, since_s in record.leaving.items()}
    body = {"exits": record.exits, "held": dict(record.held), "leaving": leaving, "failed": failed}
    return json.dumps(
        {name: value for name, value in body.items() if value or name == "exits"}, sort_keys=True
    )


def adapter_record(text: object) -> AdapterRecord | None:
    """The record; None where there is none, or a user wrote something else there."""
    try:
        body: dict[str, Any] = json.loads(str(text))
        failed = {
            str(name): LoadFailure(str(each[0]), str(each[1]), int(each[2]), float(each[3]))
            for name, each in body.get("failed", {}).items()
        }
        return AdapterRecord(
            int(body["exits"]),
            {str(name): str(source) for name, source in body.get("held", {}).items()},
            {str(name): float(since_s) for name, since_s in body.get("leaving", {}).items()},
            failed,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
