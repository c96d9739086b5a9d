"""Where a process listens, as its flags say it.

Owns the reading of `host:port`. Never opens a socket.
"""

from __future__ import annotations

from argosy.errors import SpecError

_LARGEST_PORT = 65535


def host_and_port(text: str, flag: str) -> tuple[str, int]:
    """`host:port` in two; raises `SpecError` naming `flag` where it is something else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise SpecError(f"{text!r} is not host:port, such as 127.0.0.1:18000", flag)
    return host, int(port)
