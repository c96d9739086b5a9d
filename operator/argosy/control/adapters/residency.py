"""Which replica holds which LoRA adapter, decided by load.

Owns the assignment. Input: the adapters with their weights, the replicas with what they hold, and the slots
of each. Output: `Residency`. A pure function of its input, and stable: what is held stays, unless its slot is
needed by an adapter that has none, or by one whose replicas carry `IMBALANCE` times the load.

Adapters first get one replica each, the heaviest first; the slots that are left go to where the load per
replica is largest. An adapter without a replica keeps a slot free in which it can be tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

IMBALANCE = 2.0
"""How much more load a replica of one adapter must carry than of another before a copy moves: loading takes
seconds, and expected loads are guesses."""


@dataclass(frozen=True, slots=True)
class WantedAdapter:
    """An adapter that requests may name; `weight`: its expected requests relative to the others."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Replica:
    """A ready engine.

    pod:    its key
    slots:  adapters that it may hold
    held:   adapters that it holds or is loading
    barred: adapters that it did not load and that are not tried again yet
    failed: those, and the ones that may be tried again
    """

    pod: str
    slots: int
    held: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Residency:
    """The adapters of each replica, by its pod; and those for which no replica has a slot, by weight.

    order: all adapters, the one to be loaded first first: those that no replica holds, then by weight
    """

    by_pod: Mapping[str, frozenset[str]] = field(default_factory=dict)
    without_slot: tuple[str, ...] = ()
    order: tuple[str, ...] = field(default=(), compare=False)


def assign(adapters: Iterable[WantedAdapter], replicas: Iterable[Replica]) -> Residency:
    """Where each adapter is to be."""
    wanted = sorted(adapters, key=lambda each: (-each.weight, each.name))
    board = _Board(wanted, sorted(replicas, key=lambda each: each.pod))
    missing = [each.name for each in wanted if not board.copies(each.name)]
    without_slot = [name for name in missing if not board.add_first(name)]
    board.fill()
    board.balance()
    return Residency(
        {pod: frozenset(names) for pod, names in board.names.items()},
        tuple(name for name in without_slot if not board.has_failed(name)),
        (*missing, *(each.name for each in wanted if each.name not in missing)),
    )


class _Board:
    """The assignment while it is made."""

    def __init__(self, wanted: Sequence[WantedAdapter], replicas: Sequence[Replica]) -> None:
        self._weights = {each.name: each.weight for each in wanted}
        self._replicas = {each.pod: each for each in replicas}
        self.names = {each.pod: set(each.held & self._weights.keys()) for each in replicas}
        for each in replicas:
            while len(self.names[each.pod]) > each.slots:
                self.names[each.pod].remove(self._least_needed(self.names[each.pod]))

    def copies(self, name: str) -> int:
        """Replicas that hold it."""
        return sum(name in names for names in self.names.values())

    def has_failed(self, name: str) -> bool:
        """Whether a replica did not load it."""
        return any(name in each.failed for each in self._replicas.values())

    def add_first(self, name: str) -> bool:
        """Give an adapter its first replica; False where none has a slot for it.

        A copy of another is given up for it only where it was not tried yet: no try after that costs more
        than the free slot.
        """
        able = [pod for pod, each in self._replicas.items() if name not in each.barred]
        if not (pods := [pod for pod in able if self._is_free(pod)]):
            able = [pod for pod in able if name not in self._replicas[pod].failed]
            spare = {pod: [n for n in self.names[pod] if self.copies(n) > 1] for pod in able}
            if not (pods := [pod for pod in able if spare[pod]]):
                return False
            pod = min(pods, key=lambda each: (self._after(self._least_needed(spare[each])), each))
            self.names[pod].remove(self._least_needed(spare[pod]))
            pods = [pod]
        self.names[self._least_loaded(pods)].add(name)
        return True

    def fill(self) -> None:
        """Give the slots that are left to the adapters with the most load per replica."""
        num_free = sum(each.slots - len(self.names[pod]) for pod, each in self._replicas.items())
        num_free -= sum(not self.copies(name) for name in self._weights)
        for _ in range(num_free):
            able = {
                name: pods
                for name in self._weights
                if self.copies(name) and (pods := [p for p in self._open_to(name) if self._is_free(p)])
            }
            if not able:
                return
            name = min(able, key=lambda each: (-self._load(each), each))
            self.names[self._least_loaded(able[name])].add(name)

    def balance(self) -> None:
        """Move copies to where a replica would carry much more; each move makes the largest load smaller."""
        for _ in range(sum(each.slots for each in self._replicas.values())):
            moves = [
                (self._after(low) / self._load(high), high, low, pod)
                for high in self._weights
                if self.copies(high)
                for pod in self._open_to(high)
                for low in self.names[pod]
                if self.copies(low) > 1 and self._after(low) * IMBALANCE <= self._load(high)
            ]
            if not moves:
                return
            _, high, low, pod = min(moves)
            self.names[pod].remove(low)
            self.names[pod].add(high)

    def _open_to(self, name: str) -> list[str]:
        return [
            pod
            for pod, each in self._replicas.items()
            if name not in self.names[pod] and name not in each.barred
        ]

    def _is_free(self, pod: str) -> bool:
        return len(self.names[pod]) < self._replicas[pod].slots

    def _load(self, name: str) -> float:
        """Of each replica that holds it."""
        return self._weights[name] / max(1, self.copies(name))

    def _after(self, name: str) -> float:
        """The same with one replica less."""
        return self._weights[name] / max(1, self.copies(name) - 1)

    def _least_needed(self, names: Iterable[str]) -> str:
        return min(names, key=lambda each: (self.copies(each) < 2, self._after(each), each))

    def _least_loaded(self, pods: Iterable[str]) -> str:
        return min(pods, key=lambda pod: (sum(map(self._load, self.names[pod])), pod))
