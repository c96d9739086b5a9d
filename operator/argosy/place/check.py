"""What a placement must keep, whoever made it: the specification of placement.

Owns `violations`, which judges a placement against its problem by counting. Never imports a solver
and never mends a placement; it also runs in production, between the solver and the cluster. Input: a
`PlacementProblem` and a `Placement`. Output: a typed violation, with a sentence, for each broken rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from argosy.place.problem import PlacedReplica, PlacementProblem, Wanted
from argosy.place.solution import Placement


class ViolationCode(StrEnum):
    """The rules, by name."""

    UNKNOWN_NAME = "UnknownName"
    NODE_OVERFULL = "NodeOverfull"
    WRONG_POOL = "WrongPool"
    COUNT_WRONG = "CountWrong"
    WANTED_NOT_MET = "WantedNotMet"
    UNPLACED_NEEDLESSLY = "UnplacedNeedlessly"
    UNPLACED_WRONG = "UnplacedWrong"
    VICTIM_WRONG = "VictimWrong"
    VICTIM_ORDER = "VictimOrder"
    UNSORTED = "Unsorted"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: which, of what (an option, node or pod), and the sentence."""

    code: ViolationCode
    subject: str
    message: str


def violations(problem: PlacementProblem, placement: Placement) -> tuple[Violation, ...]:
    """Every rule that `placement` breaks; empty for one that may be acted on."""
    unknown = tuple(_names(problem, placement))
    if unknown:
        return unknown  # the rules below count on known names
    judge = _Judge(problem, placement)
    return (*judge.nodes(), *judge.counts(), *judge.wanted(), *judge.unplaced(), *judge.victims())


def _names(problem: PlacementProblem, placement: Placement) -> Iterator[Violation]:
    nodes = {n.name for n in problem.nodes}
    options = {w.option for w in problem.wanted}
    pods = {p.pod for p in problem.placed}
    named = [("node", node, node in nodes) for _, node in placement.counts]
    named += [("node", node, node in nodes) for new in placement.new_nodes.values() for node in new]
    named += [("option", option, option in options) for option, _ in placement.counts]
    named += [("option", option, option in options) for option in placement.new_nodes]
    named += [("option", u.option, u.option in options) for u in placement.unplaced]
    named += [("pod", pod, pod in pods) for pod in placement.victims]
    for kind, name, is_known in named:
        if not is_known:
            yield Violation(ViolationCode.UNKNOWN_NAME, name, f"the problem has no {kind} {name}")


class _Judge:
    """A problem and a placement whose names are known, with the sums the rules share."""

    def __init__(self, problem: PlacementProblem, placement: Placement) -> None:
        self.problem, self.placement = problem, placement
        self.node_by_name = {n.name: n for n in problem.nodes}
        self.want_by_option = {w.option: w for w in problem.wanted}
        self.new = Counter((o, node) for o, nodes in placement.new_nodes.items() for node in nodes)
        self.kept = [p for p in problem.placed if p.pod not in placement.victims]
        self.taken: Counter[str] = Counter()  # GPUs per node before anything new: victims still hold theirs
        for pod in problem.placed:
            self.taken[pod.node] += pod.gpus
        for _, name, gpus in problem.draining:
            self.taken[name] += gpus
        self.started: Counter[str] = Counter()  # GPUs per node of what is new
        for (option, name), count in self.new.items():
            self.started[name] += count * self.want_by_option[option].gpus

    def nodes(self) -> Iterator[Violation]:
        """New replicas find free GPUs, on a node of their pool."""
        for name, started in self.started.items():
            node = self.node_by_name[name]
            if started and self.taken[name] + started > node.gpus:
                message = (
                    f"node {name} has {node.gpus} GPUs, {self.taken[name]} taken, and gets {started} more"
                )
                yield Violation(ViolationCode.NODE_OVERFULL, name, message)
        for option, name in self.new:
            want, node = self.want_by_option[option], self.node_by_name[name]
            if node.pool != want.pool:
                message = f"{option} belongs on pool {want.pool}, node {name} is of pool {node.pool}"
                yield Violation(ViolationCode.WRONG_POOL, option, message)

    def counts(self) -> Iterator[Violation]:
        """Counts are the kept pods and the new ones, and lists are in their order."""
        stay = Counter((p.option, p.node) for p in self.kept if p.node in self.node_by_name)
        expected = {pair: n for pair, n in (stay + self.new).items() if pair[0] in self.want_by_option}
        if dict(self.placement.counts) != expected:
            for pair in sorted(expected.keys() | self.placement.counts.keys()):
                stated, real = self.placement.counts.get(pair, 0), expected.get(pair, 0)
                if stated != real or pair not in expected:
                    message = f"{stated} of {pair[0]} are stated on {pair[1]}, kept and new are {real}"
                    yield Violation(ViolationCode.COUNT_WRONG, pair[0], message)
        for option, nodes in self.placement.new_nodes.items():
            if not nodes or list(nodes) != sorted(nodes):
                message = f"the new nodes of {option} are empty or not sorted: {nodes}"
                yield Violation(ViolationCode.UNSORTED, option, message)

    def wanted(self) -> Iterator[Violation]:
        """Kept, new and unplaced are together what is wanted."""
        for option, want in self.want_by_option.items():
            kept = sum(p.option == option and p.node in self.node_by_name for p in self.kept)
            new = len(self.placement.new_nodes.get(option, ()))
            unplaced = sum(u.replicas for u in self.placement.unplaced if u.option == option)
            if kept + new + unplaced != want.replicas:
                message = (
                    f"{want.replicas} of {option} are wanted: {kept} kept, {new} new, {unplaced} unplaced"
                )
                yield Violation(ViolationCode.WANTED_NOT_MET, option, message)

    def unplaced(self) -> Iterator[Violation]:
        """What is unplaced is said once, with a sentence, and has nowhere to go."""
        named = Counter(u.option for u in self.placement.unplaced)
        for entry in self.placement.unplaced:
            want = self.want_by_option[entry.option]
            if named[entry.option] > 1 or entry.replicas < 1 or not entry.message.strip():
                message = f"{entry.option} is unplaced twice, {entry.replicas} times, or without a sentence"
                yield Violation(ViolationCode.UNPLACED_WRONG, entry.option, message)
            for node in self.problem.nodes:
                free = self._free(node.name)
                if node.pool == want.pool and free >= want.gpus:
                    message = f"{entry.option} is unplaced although node {node.name} has {free} GPUs free"
                    yield Violation(ViolationCode.UNPLACED_NEEDLESSLY, entry.option, message)

    def _free(self, name: str) -> int:
        return self.node_by_name[name].gpus - self.taken[name] - self.started[name]

    def victims(self) -> Iterator[Violation]:
        """Only what is lost or too many goes, each once, and no ready pod before one that is not."""
        named = Counter(self.placement.victims)
        surplus = self._surplus()
        for pod in self.problem.placed:
            lost = pod.node not in self.node_by_name
            if named[pod.pod] > 1 or (lost and not named[pod.pod]):
                message = f"pod {pod.pod} is named {named[pod.pod]} times among the victims"
                yield Violation(ViolationCode.VICTIM_WRONG, pod.pod, message)
        for option, allowed in surplus.items():
            gone = [p for p in self._alive(option) if named[p.pod]]
            if len(gone) != allowed:
                message = f"{len(gone)} pods of {option} are let go, {allowed} are too many"
                yield Violation(ViolationCode.VICTIM_WRONG, option, message)
            yield from self._order(option, gone)

    def _alive(self, option: str) -> list[PlacedReplica]:
        return [p for p in self.problem.placed if p.option == option and p.node in self.node_by_name]

    def _surplus(self) -> dict[str, int]:
        options = sorted({p.option for p in self.problem.placed})
        none_wanted = 0
        surplus = {}
        for option in options:
            want: Wanted | None = self.want_by_option.get(option)
            surplus[option] = max(0, len(self._alive(option)) - (want.replicas if want else none_wanted))
        return surplus

    def _order(self, option: str, gone: list[PlacedReplica]) -> Iterator[Violation]:
        stays_unready = any(p.option == option and not p.ready for p in self.kept)
        if stays_unready and any(p.ready for p in gone):
            message = f"a ready pod of {option} is let go while one that is not ready stays"
            yield Violation(ViolationCode.VICTIM_ORDER, option, message)
