"""The story's load inside the cluster: `python -m argosy_sim.demo.pods.load FILE URL`.

Owns what the demo and the load's pod exchange. The pod gets a file of requests, prints when act 1 begins once
it can send, then one line per request, and the number of them at its end. Requests start and end in the
cluster: no way from this host to it is part of a latency. Gaps between tokens are left out: a log is rotated
at 10 MiB.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from argosy.client.open_loop import ReplayTarget, replay
from argosy.client.planned import PlannedRequest
from argosy.client.records import RequestRecord
from argosy.errors import SpecError
from argosy_sim.demo.story import DRAIN_S

LEAD_S = 5.0
"""From the pod's first line until act 1: the demo has read it by then."""
LARGEST_BYTES = 700_000
"""A ConfigMap holds 1 MiB, in base64."""
_ORIGIN, _SENT = "act 1 begins at ", "requests sent: "


def packed(requests: Iterable[PlannedRequest]) -> bytes:
    """The load as a file; raises SpecError where it is larger than a ConfigMap holds."""
    lines = [json.dumps(asdict(request), separators=(",", ":")) for request in requests]
    content = gzip.compress("\n".join(lines).encode(), mtime=0)
    if len(content) > LARGEST_BYTES:
        raise SpecError(
            f"the load's {len(lines)} requests take {len(content)} bytes, a ConfigMap holds {LARGEST_BYTES};"
            " choose a smaller rate, or a trace without prefixes",
            "--rate",
        )
    return content


def unpacked(content: bytes) -> list[PlannedRequest]:
    """The requests of a file that `packed` made."""
    return [_request(json.loads(line)) for line in gzip.decompress(content).decode().splitlines()]


def _request(values: dict[str, Any]) -> PlannedRequest:
    pairs = {"headers": tuple(map(tuple, values["headers"])), "prefix_blocks": tuple(values["prefix_blocks"])}
    return PlannedRequest(**{**values, **pairs})


@dataclass(frozen=True, slots=True)
class LoadLog:
    """What the pod has printed. origin_s: start of act 1 (Unix seconds); num_sent: None before its end."""

    origin_s: float | None
    records: tuple[str, ...]
    num_sent: int | None

    @property
    def is_complete(self) -> bool:
        """Every request has its line: none was lost with a part of the log."""
        return self.num_sent == len(self.records)


def read_log(text: str) -> LoadLog:
    """What a log says; a line that is still being written is left out."""
    origin_s, num_sent, records = None, None, []
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        if line.startswith("{"):
            records.append(line)
        elif line.startswith(_ORIGIN):
            origin_s = float(line.removeprefix(_ORIGIN))
        elif line.startswith(_SENT):
            num_sent = int(line.removeprefix(_SENT))
    return LoadLog(origin_s, tuple(records), num_sent)


class _Printed:
    """A sink that prints each record without its gaps."""

    def write(self, record: RequestRecord) -> None:
        _print(replace(record, gaps_ms=()).to_json())

    def flush(self) -> None:
        sys.stdout.flush()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(arguments: Sequence[str]) -> int:
    """Send the file's requests to the URL."""
    file, url = arguments
    requests = unpacked(Path(file).read_bytes())
    origin_s = time.time() + LEAD_S
    _print(f"{_ORIGIN}{origin_s!r}")
    sys.stdout.flush()
    result = asyncio.run(replay(requests, ReplayTarget(url, drain_timeout_s=DRAIN_S), _Printed(), origin_s))
    _print(f"{_SENT}{result.num_requests}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
