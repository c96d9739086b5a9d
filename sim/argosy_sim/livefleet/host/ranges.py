"""Owns which /16 the pods of an attached fleet get: one that neither the cluster nor this host uses.

Input: the networks that are taken, each with the words for what takes it. Output: the network, or an
`AttachError` that names both. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_network

from argosy_sim.livefleet.errors import AttachError

FLAG = "--pod-range"
_PREFIX_LENGTH = 16
# Kept for benchmarks (RFC 2544), so that few networks have them; then the less used of the private ones.
_CANDIDATES = tuple(
    IPv4Network(f"{prefix}.0.0/{_PREFIX_LENGTH}")
    for prefix in ("198.18", "198.19", *(f"10.{number}" for number in range(201, 251)))
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A network in use. `by`: what uses it, as the subject of a sentence."""

    network: IPv4Network
    by: str


def parse_range(text: str) -> IPv4Network:
    """The network that a user names. Raises AttachError where pods cannot have its addresses."""
    try:
        network = ip_network(text)
    except ValueError as error:
        raise AttachError(f"{error}; name a network such as {_CANDIDATES[0]}", FLAG) from error
    if not isinstance(network, IPv4Network) or network.prefixlen != _PREFIX_LENGTH:
        raise AttachError(f"{network} is not an IPv4 network of /16, such as {_CANDIDATES[0]}", FLAG)
    # Kubernetes refuses endpoints with loopback, link-local and multicast addresses.
    if network.is_loopback or network.is_link_local or network.is_multicast or network.is_unspecified:
        raise AttachError(
            f"Kubernetes takes no endpoints in {network}; name one such as {_CANDIDATES[0]}", FLAG
        )
    if network.is_global:
        raise AttachError(
            f"{network} is a part of the Internet, which this host could not reach any more; name a"
            f" private one, such as {_CANDIDATES[0]}",
            FLAG,
        )
    return network


def free_range(wanted: IPv4Network | None, taken: Iterable[Taken]) -> IPv4Network:
    """`wanted`, or without one the first that is free. Raises AttachError where it is taken, or all are."""
    in_use = tuple(taken)
    if wanted is None:
        free = (each for each in _CANDIDATES if _user(each, in_use) is None)
        if (found := next(free, None)) is None:
            raise AttachError(
                f"all of {_CANDIDATES[0]}, {_CANDIDATES[1]} and {_CANDIDATES[2]} to {_CANDIDATES[-1]} are"
                " taken by the cluster or this host; name another private /16",
                FLAG,
            )
        return found
    if (user := _user(wanted, in_use)) is not None:
        raise AttachError(
            f"{wanted} is taken: {user.by} has {user.network}; name another, or none for the first free one",
            FLAG,
        )
    return wanted


def _user(network: IPv4Network, taken: tuple[Taken, ...]) -> Taken | None:
    return next((each for each in taken if each.network.overlaps(network)), None)
