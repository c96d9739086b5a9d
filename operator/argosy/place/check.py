"""The rules that every placement must keep: the specification of placement.

Owns `violations`, which judges a placement against its problem by counting. It imports no solver and
does not use `facts`, and it also runs in production, between the solver and the cluster. Input: a
`PlacementProblem` and a `Placement`, however malformed. Output: for each broken rule a `Violation`,
whose text is a sentence with the value found and the value needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from argosy.keys import DeploymentKey
from argosy.place.problem import PlacedReplica, PlacementProblem, WantedReplicas
from argosy.place.solution import Placement
from argosy.plan.explain.words import counted
from argosy.plan.figures import is_count, is_finite, is_pair, shown
from argosy.plan.solution import SolveStatus

TOLERANCE = 1e-6
"""Replicas: the solver's bound is a float."""


class ViolationCode(StrEnum):
    """The rules, by name."""

    UNKNOWN_NAME = "UnknownName"
    BAD_COUNT = "BadCount"
    NODE_OVERFULL = "NodeOverfull"
    WRONG_POOL = "WrongPool"
    NODE_CLOSED = "NodeClosed"
    STAYS_WRONG = "StaysWrong"
    COUNT_WRONG = "CountWrong"
    WANTED_NOT_MET = "WantedNotMet"
    UNPLACED_NEEDLESSLY = "UnplacedNeedlessly"
    UNPLACED_WRONG = "UnplacedWrong"
    VICTIM_WRONG = "VictimWrong"
    VICTIM_ORDER = "VictimOrder"
    UNSORTED = "Unsorted"
    REPORT_WRONG = "ReportWrong"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: its code, the name of what breaks it (an option, node or pod), a sentence."""

    code: ViolationCode
    subject: str
    message: str

    def __str__(self) -> str:
        return self.message


def violations(problem: PlacementProblem, placement: Placement) -> tuple[Violation, ...]:
    """Every rule that `placement` breaks; empty for one that may be acted on.

    Raises nothing, whatever the names and numbers in the placement: a malformed one is reported.
    """
    if unknown := tuple(_names(problem, placement)):
        return unknown  # the rules below look names up
    if malformed := tuple(_counts(placement)):
        return malformed  # the rules below add counts up
    judge = _Judge(problem, placement)
    return (
        *judge.nodes(),
        *judge.counts(),
        *judge.wanted(),
        *judge.unplaced(),
        *judge.staying(),
        *judge.victims(),
        *_report(placement),
    )


def _names(problem: PlacementProblem, placement: Placement) -> Iterator[Violation]:
    nodes = {n.name for n in problem.nodes}
    options = {w.option for w in problem.wanted}
    pods = {p.pod for p in problem.placed}
    pairs = [k for k in placement.counts if is_pair(k)]
    named: list[tuple[str, str, bool]] = []
    named += [("the pair", shown(k), False) for k in placement.counts if not is_pair(k)]
    named += [("node", node, node in nodes) for _, node in pairs]
    named += [("node", node, node in nodes) for new in placement.new_nodes.values() for node in new]
    named += [("Deployment", option, option in options) for option, _ in pairs]
    named += [("Deployment", option, option in options) for option in placement.new_nodes]
    named += [("Deployment", u.option, u.option in options) for u in placement.unplaced]
    named += [("pod", pod, pod in pods) for pod in (*placement.victims, *placement.staying)]
    for kind, name, is_known in named:
        if not is_known:
            message = f"the placement names {kind} {name}: a name that the placement problem has is needed"
            yield Violation(ViolationCode.UNKNOWN_NAME, str(name), message)


def _counts(placement: Placement) -> Iterator[Violation]:
    found = [(option, f"on node {node}", n) for (option, node), n in placement.counts.items()]
    found += [(entry.option, "without a node", entry.replicas) for entry in placement.unplaced]
    for option, where, count in found:
        if not (is_count(count) and count > 0):
            has = f"Deployment {option} has {shown(count)} replicas {where}"
            message = f"{has}: a whole number of at least 1 is needed"
            yield Violation(ViolationCode.BAD_COUNT, option, message)


def _report(placement: Placement) -> Iterator[Violation]:
    report = placement.report
    if report is None:
        return
    if report.status not in tuple(SolveStatus):
        known = ", ".join(SolveStatus)
        message = f"the report's status is {shown(report.status)}: one of {known} is needed"
        yield Violation(ViolationCode.REPORT_WRONG, "status", message)
    num_unplaced = sum(entry.replicas for entry in placement.unplaced)
    if report.unplaced != num_unplaced:
        message = f"the report's unplaced replicas are {shown(report.unplaced)}: {num_unplaced} is needed"
        yield Violation(ViolationCode.REPORT_WRONG, "unplaced", message)
    most = {"unplaced_bound": num_unplaced + TOLERANCE, "gap": 1 + TOLERANCE}
    for name, limit in most.items():
        value = getattr(report, name)
        if not (is_finite(value) and 0 <= value <= limit):
            message = f"the report's {name} is {shown(value)}: a number from 0 to {limit:.6g} is needed"
            yield Violation(ViolationCode.REPORT_WRONG, name, message)
    if not (is_finite(report.seconds) and report.seconds >= 0):
        message = f"the report's seconds are {shown(report.seconds)}: a number of at least 0 is needed"
        yield Violation(ViolationCode.REPORT_WRONG, "seconds", message)


class _Judge:
    """A problem and a well-formed placement, with the sums that several rules need."""

    def __init__(self, problem: PlacementProblem, placement: Placement) -> None:
        self.problem, self.placement = problem, placement
        self.node_by_name = {n.name: n for n in problem.nodes}
        self.want_by_option = {w.option: w for w in problem.wanted}
        self.new = Counter((o, node) for o, nodes in placement.new_nodes.items() for node in nodes)
        self.kept = [p for p in problem.placed if p.pod not in placement.victims]
        self.taken: Counter[str] = Counter()  # GPUs per node before any start: victims still hold theirs
        for pod in problem.placed:
            self.taken[pod.node] += pod.gpus
        for _, name, gpus in problem.draining:
            self.taken[name] += gpus
        self.started: Counter[str] = Counter()  # GPUs per node of the new replicas
        for (option, name), count in self.new.items():
            self.started[name] += count * self.want_by_option[option].gpus

    def nodes(self) -> Iterator[Violation]:
        """New replicas get free GPUs, on a node of their pool."""
        for name, started in self.started.items():
            free = self.node_by_name[name].gpus - self.taken[name]
            if started > max(0, free):
                taken = counted(started, "GPU")
                message = f"new replicas take {taken} of node {name}: at most {max(0, free)} is free"
                yield Violation(ViolationCode.NODE_OVERFULL, name, message)
        for (option, name), count in self.new.items():
            want, node = self.want_by_option[option], self.node_by_name[name]
            if (room := self._room_beside_gpus(want, name)) is not None and count > room:
                message = (
                    f"Deployment {option} starts {counted(count, 'replica')} on node {name}: its CPU, memory"
                    f" and disk are for {room}"
                )
                yield Violation(ViolationCode.NODE_OVERFULL, option, message)
            if node.pool != want.pool:
                message = (
                    f"Deployment {option} starts a replica on node {name} of GPUPool {node.pool}: "
                    f"a node of GPUPool {want.pool} is needed"
                )
                yield Violation(ViolationCode.WRONG_POOL, option, message)
            if node.is_closed or node.is_leaving:
                message = (
                    f"Deployment {option} starts a replica on node {name}, which takes no new ones: "
                    f"another node is needed"
                )
                yield Violation(ViolationCode.NODE_CLOSED, option, message)

    def counts(self) -> Iterator[Violation]:
        """Counts are the pods that stay and the new ones, and lists are in their order."""
        stay = Counter((p.option, p.node) for p in self.kept if p.node in self.node_by_name)
        expected = {pair: n for pair, n in (stay + self.new).items() if pair[0] in self.want_by_option}
        stated = self.placement.counts
        for option, node in sorted(expected.keys() | stated.keys()):
            found, real = stated.get((option, node), 0), expected.get((option, node), 0)
            if found != real:
                message = (
                    f"Deployment {option} is stated to have {counted(found, 'replica')} on node {node}: "
                    f"{real} is needed, counting those that stay and those that start"
                )
                yield Violation(ViolationCode.COUNT_WRONG, option, message)
        for option, nodes in self.placement.new_nodes.items():
            if not nodes or list(nodes) != sorted(nodes):
                listed = ", ".join(nodes) or "no node"
                message = f"the new nodes of Deployment {option} are {listed}: names in order are needed"
                yield Violation(ViolationCode.UNSORTED, option, message)

    def wanted(self) -> Iterator[Violation]:
        """The replicas that stay, start and find no room are together those that are wanted."""
        for option, want in self.want_by_option.items():
            kept = sum(p.option == option and p.node in self.node_by_name for p in self.kept)
            new = len(self.placement.new_nodes.get(option, ()))
            unplaced = sum(u.replicas for u in self.placement.unplaced if u.option == option)
            if kept + new + unplaced != want.replicas:
                message = (
                    f"Deployment {option} has {counted(kept, 'replica')} to keep, {new} to start and "
                    f"{unplaced} without a node: {want.replicas} in all is needed"
                )
                yield Violation(ViolationCode.WANTED_NOT_MET, option, message)

    def unplaced(self) -> Iterator[Violation]:
        """A replica without a node is listed once, with a sentence, and no node has room for it."""
        listed = Counter(u.option for u in self.placement.unplaced)
        for entry in self.placement.unplaced:
            want = self.want_by_option[entry.option]
            subject = f"the replicas of Deployment {entry.option} without a node"
            if listed[entry.option] > 1:
                message = f"{subject} are listed {listed[entry.option]} times: once is needed"
                yield Violation(ViolationCode.UNPLACED_WRONG, entry.option, message)
            if not isinstance(entry.message, str) or not entry.message.strip():
                message = f"{subject} have no sentence: one that names the remedy is needed"
                yield Violation(ViolationCode.UNPLACED_WRONG, entry.option, message)
            if free := self._free_for(want):
                message = (
                    f"Deployment {entry.option} has {counted(entry.replicas, 'replica')} without a node, "
                    f"and {free}: a replica takes {want.gpus}"
                )
                yield Violation(ViolationCode.UNPLACED_NEEDLESSLY, entry.option, message)

    def staying(self) -> Iterator[Violation]:
        """A pod stays on a leaving node only if it is listed, is wanted, and no other node has room."""
        listed = Counter(self.placement.staying)
        kept = {p.pod for p in self.kept}
        for pod in self.problem.placed:
            is_on_leaving = pod.node in self.node_by_name and self.node_by_name[pod.node].is_leaving
            stays = is_on_leaving and pod.pod in kept
            if listed[pod.pod] != stays:
                message = (
                    f"pod {pod.pod} is listed {listed[pod.pod]} times among those that stay on leaving "
                    f"nodes: {int(stays)} is needed"
                )
                yield Violation(ViolationCode.STAYS_WRONG, pod.pod, message)
            elif stays and (free := self._free_for(self.want_by_option.get(pod.option))):
                message = f"pod {pod.pod} stays on node {pod.node}, whose removal is announced, and {free}"
                yield Violation(
                    ViolationCode.STAYS_WRONG, pod.pod, f"{message}: its successor has room there"
                )

    def _free_for(self, want: WantedReplicas | None) -> str:
        """A node that could take one more replica, in words; empty where there is none."""
        if want is None:
            return ""
        for node in self.problem.nodes:
            free = node.gpus - self.taken[node.name] - self.started[node.name]
            room = self._room_beside_gpus(want, node.name)
            if room is not None and self.new[want.option, node.name] >= room:
                continue
            if node.pool == want.pool and not (node.is_closed or node.is_leaving) and free >= want.gpus:
                return f"node {node.name} has {counted(free, 'free GPU')}"
        return ""

    def _room_beside_gpus(self, want: WantedReplicas, node: str) -> int | None:
        """New replicas of an option for which a node has CPU, memory and disk; None where GPUs decide."""
        if node not in want.most_on:
            return None
        there = sum(p.option == want.option and p.node == node for p in self.problem.placed)
        return max(0, want.most_on[node] - there)

    def victims(self) -> Iterator[Violation]:
        """Only lost and surplus pods and those on leaving nodes go, each listed once, and no ready pod
        before one that is not."""
        listed = Counter(self.placement.victims)
        for pod in self.problem.placed:
            is_lost = pod.node not in self.node_by_name
            if listed[pod.pod] > 1 or (is_lost and not listed[pod.pod]):
                needed = "once is needed, because its node is gone" if is_lost else "at most once is allowed"
                message = f"pod {pod.pod} is listed {listed[pod.pod]} times among the victims: {needed}"
                yield Violation(ViolationCode.VICTIM_WRONG, pod.pod, message)
        for option, surplus in self._surplus().items():
            gone = [p for p in self._settled(option) if listed[p.pod]]
            if len(gone) != surplus:
                pods = counted(len(gone), "pod")
                message = f"{pods} of Deployment {option} should go: {surplus} is needed, its surplus"
                yield Violation(ViolationCode.VICTIM_WRONG, option, message)
            yield from self._order(option, gone)

    def _settled(self, option: DeploymentKey) -> list[PlacedReplica]:
        """An option's pods on live nodes that do not leave."""
        live = {n.name for n in self.problem.nodes if not n.is_leaving}
        return [p for p in self.problem.placed if p.option == option and p.node in live]

    def _surplus(self) -> dict[DeploymentKey, int]:
        """Pods on nodes that stay, beyond the wanted replicas; all of an option that is not wanted."""
        wanted = {w.option: w.replicas for w in self.problem.wanted}
        options = sorted({p.option for p in self.problem.placed})
        return {o: max(0, len(self._settled(o)) - wanted.get(o, 0)) for o in options}

    def _order(self, option: DeploymentKey, gone: list[PlacedReplica]) -> Iterator[Violation]:
        settled = {p.pod for p in self._settled(option)}
        unready = [p.pod for p in self.kept if p.pod in settled and not p.ready]
        ready = [p.pod for p in gone if p.ready]
        if unready and ready:
            message = (
                f"pod {ready[0]} of Deployment {option} is let go and is ready while pod {unready[0]} stays "
                "and is not: pods that are not ready have to go first"
            )
            yield Violation(ViolationCode.VICTIM_ORDER, option, message)
