"""Owns the choice of loopback ports. Never holds one: a port is free when it was looked at.

Between the look and the component's own bind another process may take it; `cluster` then
sees `PortTakenError` and starts again with other ports.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack

from argosy_sim.controlplane.errors import PortTakenError

LOOPBACK = "127.0.0.1"


def free_ports(num_ports: int) -> tuple[int, ...]:
    """Different ports that are free on loopback right now."""
    with ExitStack() as stack:
        # All are held until the last is known, or the kernel may hand out one twice.
        sockets = [stack.enter_context(socket.socket()) for _ in range(num_ports)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return tuple(each.getsockname()[1] for each in sockets)


def require_free(port: int, field: str = "") -> int:
    """Return `port`, or raise `PortTakenError`; `field` is the option that named it."""
    with socket.socket() as probe:
        # As Go's listeners do: a connection in TIME_WAIT does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortTakenError(port, field) from error
    return port
