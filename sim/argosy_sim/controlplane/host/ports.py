"""Owns the choice of loopback ports. A port was free when it was checked; it is not reserved.

Between the check and the component's own bind another process may take it; `cluster` then
sees `PortTakenError` and starts again with other ports. This process chooses each port once: what it
starts may listen on its port only much later.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

from argosy.errors import SpecError
from argosy_sim.controlplane.errors import PortTakenError

LOOPBACK = "127.0.0.1"

PORTS_VARIABLE = "ARGOSY_PORTS"
"""Environment variable: the ports to choose from, FIRST-LAST. Processes that each start a fleet at the same
time do not take each other's ports where each has a range of its own."""


_CHOSEN: set[int] = set()
_LOWEST = 16384
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_EPHEMERAL_FROM = 32768


def free_ports(num_ports: int) -> tuple[int, ...]:
    """Different ports that are free on loopback right now, and that the kernel never assigns by itself.

    They lie below the ephemeral ones: a process that ends and listens again on its port (Envoy, an API
    server) would now and then find it given to an outgoing connection or to a bind to port 0.
    """
    every = _candidates()
    unused = [port for port in every if port not in _CHOSEN]
    candidates = unused if len(unused) >= num_ports else [*every]
    with ExitStack() as stack:
        # All are held until the last is known, or one would be chosen twice.
        sockets: list[socket.socket] = []
        for port in random.SystemRandom().sample(candidates, len(candidates)):
            if len(sockets) == num_ports:
                break
            each = stack.enter_context(socket.socket())
            with suppress(OSError):  # in use
                each.bind((LOOPBACK, port))
                sockets.append(each)
        while len(sockets) < num_ports:  # a machine whose ephemeral ports begin low
            each = stack.enter_context(socket.socket())
            each.bind((LOOPBACK, 0))
            sockets.append(each)
        found = tuple(each.getsockname()[1] for each in sockets)
    _CHOSEN.update(found)
    return found


def _candidates() -> range:
    """Those of `ARGOSY_PORTS`, else all below the ephemeral ones; raises `SpecError` for another form."""
    chosen = os.environ.get(PORTS_VARIABLE, "")
    if not chosen:
        return range(_LOWEST, max(_first_ephemeral(), _LOWEST))
    first, _, last = chosen.partition("-")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < 65536):
        raise SpecError(f"{chosen!r} is not FIRST-LAST, such as 20000-24999", PORTS_VARIABLE)
    return range(int(first), int(last) + 1)


def _first_ephemeral() -> int:
    try:
        return int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_EPHEMERAL_FROM


def require_free(port: int, field: str = "") -> int:
    """Return `port`, or raise `PortTakenError`; `field` is the option that named it."""
    if not is_free(port):
        raise PortTakenError(port, field)
    return port


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As Go's listeners do: a connection in TIME_WAIT does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
