"""How the process logs: plain lines or JSON, without the alarming lines of libraries.

Owns the set-up of Python's logging, and the two formats. Input: the flags `--log-level` and
`--log-format`. Output: lines on standard error. A record's `fields` (`extra={"fields": ...}`) are
further members of its JSON object; the plain line shows the message alone.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]

_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_QUIET = ("kopf", "kubernetes", "urllib3", "aiohttp", "grpc", "numba")
"""Libraries whose own lines say nothing that Argosy does not say of the same failure in its own words:
kopf, for one, warns that it ignores OS signals, which it is meant to, and repeats every failed request."""

_LEFTOVERS = (
    "Unclosed client session",
    "Unclosed connector",
    "Task was destroyed but it is pending",
    "an error occurred during closing of asynchronous generator <async_generator object infinite_watch",
)
"""What asyncio reports of connections, tasks and kopf's watches that end with the process."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", {})
        content |= {name: value for name, value in fields.items() if name not in content}
        if record.exc_info and record.exc_info[0] is not None:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


def configure(level: str, log_format: LogFormat) -> None:
    """Log to standard error from now on; with level debug, libraries log as well."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_PLAIN))
    handler.addFilter(_is_no_leftover)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    is_debug = logging.getLogger().getEffectiveLevel() <= logging.DEBUG
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET if is_debug else logging.CRITICAL)
    # Its warnings name slow callbacks of libraries; its errors are bugs, and are shown.
    logging.getLogger("asyncio").setLevel(logging.NOTSET if is_debug else logging.ERROR)
    logging.captureWarnings(capture=True)


def _is_no_leftover(record: logging.LogRecord) -> bool:
    return record.name != "asyncio" or not record.getMessage().startswith(_LEFTOVERS)
