"""Owns the fleet's addresses: one /16 block and one engine port, claimed.

Both are claimed by binding, so that two fleets side by side never collide and a crashed one leaves
nothing to clean up: the block by an abstract Unix socket (it frees
itself with the process and depends on no TCP port), the port by a TCP socket in the block.
Linux only: every address of 127.0.0.0/8 may be bound there without set-up. A fleet that is attached to
another cluster has a block that `livefleet.host` routes to this host.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from argosy_sim.livefleet.errors import EnginePortTakenError, NoAddressBlockError

# 127.0.x.x and 127.1.x.x are used by resolvers and by people; the top is left to others.
_FIRST_BLOCK, _LAST_BLOCK = 10, 250
# vLLM's own default, and ServedModel's. The next ones are looked at in turn.
PREFERRED_PORT = 8000
_PORTS_TRIED = 200
_HOSTS_PER_OCTET = 254


class AddressClaim:
    """A block and a port that this process holds while this object is open. Made by `claim`, or `within`.

    `prefix`: the first two numbers of the block's addresses, such as 127.10.
    """

    def __init__(self, prefix: str, block_lock: socket.socket, port_lock: socket.socket) -> None:
        self.prefix = prefix
        self.engine_port: int = port_lock.getsockname()[1]
        self._locks = (block_lock, port_lock)
        self._addresses = _host_addresses(prefix)

    @classmethod
    def claim(cls, port: int | None = None) -> AddressClaim:
        """Claim the first free loopback block, and `port` in it, or, without one, 8000 if it is free.

        Raises `EnginePortTakenError` if the named port is taken, `NoAddressBlockError` if no block is left.
        """
        return cls.within(*_claim_block(), port)

    @classmethod
    def within(cls, prefix: str, block_lock: socket.socket, port: int | None) -> AddressClaim:
        """Claim a port in a block that is locked already; its addresses can be bound on this host.

        Raises `EnginePortTakenError` if the named port is taken; the lock is given back then.
        """
        try:
            port_lock = _claim_port(f"{prefix}.0.1", port)
        except EnginePortTakenError:
            block_lock.close()
            raise
        return cls(prefix, block_lock, port_lock)

    @property
    def network(self) -> str:
        """The block in CIDR notation."""
        return f"{self.prefix}.0.0/16"

    def next_address(self) -> str:
        """Return an address for a pod.

        They are handed out in turn, none twice before all 64,516 were: a proxy that still knows
        a deleted pod must not reach a new one.
        """
        return next(self._addresses)

    def close(self) -> None:
        """Give block and port back."""
        for lock in self._locks:
            lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _host_addresses(prefix: str) -> Iterator[str]:
    while True:
        # The first 256 are not given to pods: the claim itself is bound there.
        for third in range(1, _HOSTS_PER_OCTET + 1):
            for fourth in range(1, _HOSTS_PER_OCTET + 1):
                yield f"{prefix}.{third}.{fourth}"


def lock_block(prefix: str) -> socket.socket | None:
    """Return what holds a block for this process while it is open; None if another process has it."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0argosy-livefleet-{prefix}")
    except OSError:
        lock.close()
        return None
    return lock


def _claim_block() -> tuple[str, socket.socket]:
    for block in range(_FIRST_BLOCK, _LAST_BLOCK + 1):
        if (lock := lock_block(f"127.{block}")) is not None:
            return f"127.{block}", lock
    raise NoAddressBlockError(
        f"all blocks from 127.{_FIRST_BLOCK}.0.0/16 to 127.{_LAST_BLOCK}.0.0/16 are claimed by other fleets"
    )


def _claim_port(address: str, port: int | None) -> socket.socket:
    if port is not None:
        return listen_on(address, port)
    for candidate in range(PREFERRED_PORT, PREFERRED_PORT + _PORTS_TRIED):
        with suppress(EnginePortTakenError):
            return listen_on(address, candidate)
    return listen_on(address, 0)


def listen_on(address: str, port: int) -> socket.socket:
    """Return a listening, non-blocking TCP socket; raises `EnginePortTakenError`."""
    listener = socket.socket(socket.AF_INET)
    # As every server does: connections in TIME_WAIT do not count as taken; listeners still do.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise EnginePortTakenError(address, port) from error
    listener.setblocking(False)
    return listener
