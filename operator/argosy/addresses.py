"""The addresses on which a process listens, or to which it connects, as its flags give them.

Owns the reading of `host:port`.
"""

from __future__ import annotations

from argosy.errors import SpecError

_LARGEST_PORT = 65535


def host_and_port(text: str, flag: str) -> tuple[str, int]:
    """Host and port of `host:port`; raises `SpecError` naming `flag` where the text has another form."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise SpecError(f"{text!r} is not host:port, such as 127.0.0.1:18000", flag)
    return host, int(port)


def peer_address(text: str, flag: str) -> tuple[str, int]:
    """Host and port to connect to; an IPv6 address has no brackets. Raises `SpecError`, for port 0 too."""
    host, port = host_and_port(text, flag)
    if port == 0:
        raise SpecError(f"{text!r} needs a port from 1 to {_LARGEST_PORT}, such as 127.0.0.1:18000", flag)
    return host.strip("[]"), port
