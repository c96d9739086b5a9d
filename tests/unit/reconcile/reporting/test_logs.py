"""Lines of the log, as a process of its own writes them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, warnings
from argosy.reconcile.reporting.logs import configure
configure({level!r}, {log_format!r})
log = logging.getLogger("argosy.test")
logging.getLogger("kopf.x").warning("OS signals are ignored: can't add signal handlers outside of main.")
logging.getLogger("urllib3.connectionpool").error("HTTPConnectionPool(host='x'): Max retries exceeded")
logging.getLogger("asyncio").error("Unclosed client session\\nclient_session: <x>")
closing = "an error occurred during closing of asynchronous generator <async_generator object %s at 0x1>"
logging.getLogger("asyncio").error(closing % "infinite_watch")
logging.getLogger("asyncio").error("Task exception was never retrieved")
log.debug("detail")
log.info("revision %d: %s", 3, "a\\nb", extra={{"fields": {{"revision": 3, "message": "not this"}}}})
try:
    1 / 0
except ZeroDivisionError as error:
    log.error("a bug", exc_info=error)
"""


def lines(level: str, log_format: str) -> list[str]:
    script = SCRIPT.format(level=level, log_format=log_format)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_json_lines_are_objects_with_time_level_message_and_the_fields_of_the_record() -> None:
    records = [json.loads(line) for line in lines("info", "json")]
    assert [(r["level"], r["logger"], r["message"]) for r in records] == [
        ("error", "asyncio", "Task exception was never retrieved"),
        ("info", "argosy.test", "revision 3: a\nb"),
        ("error", "argosy.test", "a bug"),
    ]
    assert records[1]["revision"] == 3
    assert "ZeroDivisionError" in records[2]["exception"]
    assert all(r["time"].endswith("+00:00") for r in records)


def test_text_lines_leave_out_what_libraries_say_without_need() -> None:
    text = "\n".join(lines("info", "text"))
    assert "revision 3: a" in text
    assert "Task exception was never retrieved" in text
    for noise in ("OS signals", "HTTPConnectionPool", "Unclosed", "infinite_watch", "detail"):
        assert noise not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_with_level_debug_libraries_are_heard(log_format: str) -> None:
    text = "\n".join(lines("debug", log_format))
    for said in ("OS signals", "HTTPConnectionPool", "detail"):
        assert said in text
