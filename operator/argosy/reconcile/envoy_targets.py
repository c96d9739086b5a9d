"""Which Envoys are read, and where.

Owns the list of Envoys to read: those that announced an address when they connected, to this replica of the
operator or to another one, and those that the command line names. Every replica reads all of them: the demand
of a class is the sum over all Envoys, and a standby has to know it when it takes over. Input: the connected
Envoys. Output: node ids with URLs.
"""

from __future__ import annotations

from collections.abc import Iterable

from argosy.settings import EnvoyAdmin
from argosy.snapshot.fleet import EnvoyState

KEEP_S = 60.0
"""An Envoy that lost its stream still serves: until it has connected again, or to another replica, its
requests must not be missing from the demand."""


class EnvoyTargets:
    """Remembers an Envoy for `KEEP_S` after it was last connected."""

    def __init__(self, listed: Iterable[EnvoyAdmin]) -> None:
        self._listed = {each.node_id: each.url for each in listed}
        self._announced: dict[str, tuple[str, float]] = {}

    def of(self, connected: Iterable[EnvoyState], now_s: float) -> tuple[tuple[str, str], ...]:
        """(node id, URL) of each Envoy to read, by node id; a listed one is read where the list says."""
        self._announced |= {each.node_id: (each.stats_url, now_s) for each in connected if each.stats_url}
        self._announced = {
            node_id: (url, seen_s)
            for node_id, (url, seen_s) in self._announced.items()
            if now_s - seen_s <= KEEP_S
        }
        found = {node_id: url for node_id, (url, _) in self._announced.items()} | self._listed
        return tuple(sorted(found.items()))
