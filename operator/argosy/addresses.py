"""The addresses on which a process listens, or to which it connects, as its flags give them.

Owns the reading and the writing of `host:port`. An IPv6 address stands in brackets there, and nowhere else:
a host that is read has none, as sockets and Envoy want it.
"""

from __future__ import annotations

import ipaddress

from argosy.errors import SpecError

DEFAULT_ADS = "127.0.0.1:18000"
"""Where the ADS server listens, and where an Envoy looks for it, unless a flag says otherwise."""

_LARGEST_PORT = 65535


def host_and_port(text: str, flag: str) -> tuple[str, int]:
    """Host and port of `host:port`; raises `SpecError` naming `flag` where the text has another form."""
    host, _, port = text.rpartition(":")
    if _is_ipv6(text) or _is_ipv6(host):
        found = f"[{host}]:{port}" if _is_ipv6(host) else f"[{text}]:PORT"
        raise SpecError(f"{text!r} is an IPv6 address without brackets; write {found}", flag)
    if host.startswith("[") and host.endswith("]") and _is_ipv6(host[1:-1]):
        host = host[1:-1]
    elif not host or set(host) & set("[]:"):
        raise _no_address(text, flag)
    if not (port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT):
        raise _no_address(text, flag)
    return host, int(port)


def peer_address(text: str, flag: str) -> tuple[str, int]:
    """Host and port to connect to. Raises `SpecError`, for port 0 too."""
    host, port = host_and_port(text, flag)
    if port == 0:
        raise SpecError(f"{text!r} needs a port from 1 to {_LARGEST_PORT}, such as {DEFAULT_ADS}", flag)
    return host, port


def written(host: str, port: int) -> str:
    """`host:port`, as `host_and_port` reads it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def canonical(host: str) -> str:
    """An IP address in its one short form, as sockets and Envoy write it; any other host as it is.

    An IPv4 address inside IPv6 (`::ffff:10.0.0.7`, the peer of a socket of both families) is the IPv4 one.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def is_every_address(host: str) -> bool:
    """Whether it means every address of the machine, of its family or of both."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    """Whether it is an IPv6 address, without brackets."""
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _no_address(text: str, flag: str) -> SpecError:
    return SpecError(f"{text!r} is not host:port, such as {DEFAULT_ADS}", flag)
