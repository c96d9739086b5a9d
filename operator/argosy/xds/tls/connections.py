"""Which TLS connections have become an Envoy's stream, and how many have not.

gRPC refuses a client without an acceptable certificate without a word to the program, and does not say from
where it came. Both ends of the matter are seen: that a connection begins, and that its stream arrives. Owns
the difference. Input: those two, with monotonic seconds. Output: a number.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 30.0
GRACE_S = 5.0
"""A connection's stream arrives within a second, unless its handshake fails."""


class Connections:
    """The connections of the last half minute."""

    def __init__(self) -> None:
        self._began_s: deque[float] = deque()
        self._arrived_s: deque[float] = deque()
        self._peers: set[str] = set()

    def began(self, now_s: float) -> None:
        """A connection was accepted. Safe in any thread."""
        self._began_s.append(now_s)

    def arrived(self, peer: str, now_s: float) -> None:
        """A stream of the connection from this address and port began; a second one does not count."""
        if peer not in self._peers:
            self._peers.add(peer)
            self._arrived_s.append(now_s)

    def ended(self, peer: str) -> None:
        """The stream ended: another connection may come from this address and port."""
        self._peers.discard(peer)

    def num_refused(self, now_s: float) -> int:
        """Connections of the last `WINDOW_S` that brought no stream within `GRACE_S`."""
        for seen_s in (self._began_s, self._arrived_s):
            while seen_s and seen_s[0] < now_s - WINDOW_S:
                seen_s.popleft()
        num_old = sum(began_s <= now_s - GRACE_S for began_s in tuple(self._began_s))
        return max(0, num_old - len(self._arrived_s))
