"""Times as Kubernetes writes them: RFC 3339 in UTC.

Owns both spellings, `Time` and `MicroTime`, and their reading. Input and output: seconds since the
epoch, as everywhere in Argosy, and text.
"""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(at_s: float) -> str:
    """Seconds since the epoch as a `Time`: whole seconds, rounded down."""
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(at_s: float) -> str:
    """Seconds since the epoch as a `MicroTime`, which events and Leases carry."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(timestamp: object) -> float | None:
    """Seconds since the epoch of a `Time` or `MicroTime`; None where there is none or it is unreadable."""
    if not timestamp:
        return None
    try:
        return datetime.fromisoformat(str(timestamp).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
