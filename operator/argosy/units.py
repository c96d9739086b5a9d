"""Instants as text, and back.

Owns the one form in which Argosy writes a time into an object: RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at_s: float) -> str:
    """Seconds since the epoch as RFC 3339 with whole seconds."""
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(at_s: float) -> str:
    """Seconds since the epoch as RFC 3339 with microseconds, as Events and Leases want it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: str | None) -> float | None:
    """RFC 3339 as seconds since the epoch; None where there is no readable time."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
