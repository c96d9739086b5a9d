"""What this machine's loopback has."""

from __future__ import annotations

import socket

import pytest


def require_ipv6_loopback() -> None:
    """Skip the test where the machine has no `::1`."""
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
