"""How every engine does: it answers, is busy, in doubt, dead or silent; silent capacity is lost.

Owns the verdict; `snapshot.liveness` has the definitions and their numbers, and Envoy's health checks take
endpoints out of rotation. Input: a snapshot with its telemetry. Output: a `Liveness` for each engine that
is expected to answer, and the pods whose capacity does not count.

What speaks for an engine: an answer to the scrape, a fresh sample of Envoy's that calls it healthy, and
requests that Envoy saw answered there. Any of them is enough; only where all are missing for long is it
silent. Envoy's word that an engine is unhealthy is not silence: a saturated engine is late for Envoy and
works. Two things look like silence and are none: a scraper that has lost its network (no engine answers
it, and Envoy does not agree), and a stop of many engines at one moment (in doubt, `DOUBT_UNTIL_S`).
Section 4 of docs/design/0004.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from argosy.api.fleet import Mode
from argosy.control.state.departure import is_declared_dead
from argosy.snapshot import EndpointHealth, TelemetryReading, fresh
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.liveness import (
    DEAD_AFTER_S,
    DOUBT_FROM_S,
    DOUBT_UNTIL_S,
    ENVOY_EJECTS_AFTER_S,
    ENVOY_FRESH_S,
    MANY_ENGINES,
    MANY_SHARE,
    READING_S,
    SAME_MOMENT_S,
    SILENT_AFTER_S,
)
from argosy.snapshot.telemetry import Unread


class Liveness(StrEnum):
    """How an engine does that is expected to answer."""

    ANSWERS = "Answers"
    BUSY = "Busy"
    """It answers late, or not all that ask it: it counts as capacity."""
    DOUBTED = "Doubted"
    """It stopped answering at the same moment as many others: nothing is decided on that yet."""
    DEAD = "Dead"
    """It refuses connections: it takes no requests, and its kubelet is starting it again."""
    SILENT = "Silent"
    """It has answered nothing for long: its capacity is lost."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An engine that is expected to answer. `since_s`: since when (epoch seconds); `node`: where it runs."""

    since_s: float
    node: str = ""


def liveness(
    reading: TelemetryReading, now_s: float, expected: Mapping[str, Expected]
) -> dict[str, Liveness]:
    """How each engine of `expected` (by endpoint address) does.

    An engine that is not in `expected` loads or restarts: its silence says nothing.
    """
    seen = _Seen(reading, now_s, expected)
    return {address: seen.verdict(address) for address in sorted(expected)}


def liveness_by_pod(snapshot: FleetSnapshot) -> dict[str, Liveness]:
    """The same by the keys of the engine pods that are expected to answer: none on a node declared dead."""
    dead = declared_dead_pods(snapshot)
    pods = [pod for pod in snapshot.engine_pods if pod.should_answer and pod.key not in dead]
    found = liveness(snapshot.telemetry, snapshot.now_s, {pod.address: _expected(pod) for pod in pods})
    return {pod.key: found[pod.address] for pod in pods}


def silent_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods whose engine has fallen silent."""
    return _pods(snapshot, Liveness.SILENT)


def silent_since(snapshot: FleetSnapshot) -> dict[str, float]:
    """Since when each silent engine has answered nothing (epoch seconds), by the key of its pod."""
    quiet_since_s = snapshot.telemetry.unanswered_since_s
    pods = (snapshot.pods[key] for key in sorted(silent_pods(snapshot)))
    return {pod.key: max(quiet_since_s[pod.address], pod.ready_since_s or 0.0) for pod in pods}


def unread_pods(snapshot: FleetSnapshot) -> dict[str, Unread]:
    """Why the metrics of an engine cannot be read for `SILENT_AFTER_S`, by the key of its pod.

    Only of engines that count as capacity, because they answer the scrape or serve through Envoy: of one
    that has stopped, that is what users read.
    """
    found: dict[str, Unread] = {}
    for key, state in liveness_by_pod(snapshot).items() if snapshot.telemetry.unread else ():
        pod = snapshot.pods[key]
        why = snapshot.telemetry.unread.get(pod.address)
        if why is None or state not in (Liveness.ANSWERS, Liveness.BUSY):
            continue
        if snapshot.now_s - max(why.since_s, pod.ready_since_s or 0.0) >= SILENT_AFTER_S:
            found[key] = why
    return found


def consequence(mode: Mode) -> str:
    """What Argosy does about silent engines, as a part of a sentence."""
    if mode is Mode.AUTO:
        return "Argosy starts others in their place, and removes them once those serve"
    return f"spec.mode {mode.value} of Fleet/default starts none in their place"


def doubted_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods whose engines stopped answering together: while there are any, nothing changes."""
    return _pods(snapshot, Liveness.DOUBTED)


def lost_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the engine pods whose capacity is lost.

    Silent ones, those on a node that is declared dead, and those on a node that is not ready: except
    engines that answer, because then only the node's heartbeats are missing, and engines in doubt.
    """
    return silent_pods(snapshot) | stranded_pods(snapshot) | declared_dead_pods(snapshot)


def stranded_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the engine pods on a node that is not ready, or gone, for whose engine nothing speaks."""
    up = {node.name for node in snapshot.nodes.values() if node.ready}
    kept = doubted_pods(snapshot) | _answering(snapshot)
    return frozenset(
        pod.key for pod in snapshot.engine_pods if pod.node and pod.node not in up and pod.key not in kept
    )


def declared_dead_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the engine pods on nodes of which an administrator says that they are off."""
    dead = {node.name for node in snapshot.nodes.values() if is_declared_dead(node)}
    return frozenset(pod.key for pod in snapshot.engine_pods if pod.node in dead)


def idle_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods that get no requests, or answer none: lost, dead, in doubt or out of Envoy's rotation.

    What users read as ready does without them; what the planner counts as capacity does not.
    """
    states = liveness_by_pod(snapshot).items()
    stopped = {key for key, state in states if state in (Liveness.DEAD, Liveness.DOUBTED)}
    return lost_pods(snapshot) | stopped | ejected_pods(snapshot)


def ejected_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the pods that Envoy has taken out of rotation, by a fresh sample."""
    seen = _Seen(snapshot.telemetry, snapshot.now_s, {})
    return frozenset(
        p.key for p in snapshot.engine_pods if seen.envoy_says(p.address) is EndpointHealth.UNHEALTHY
    )


def _pods(snapshot: FleetSnapshot, wanted: Liveness) -> frozenset[str]:
    return frozenset(key for key, state in liveness_by_pod(snapshot).items() if state is wanted)


def _expected(pod: PodState) -> Expected:
    return Expected(pod.ready_since_s or 0.0, pod.node)


def _answering(snapshot: FleetSnapshot) -> set[str]:
    """Keys of the pods for which something speaks within the last `SILENT_AFTER_S`."""
    reading, now_s = snapshot.telemetry, snapshot.now_s
    seen = _Seen(reading, now_s, {})
    heard = {address for address, sample in reading.engines.items() if sample.age_s(now_s) < SILENT_AFTER_S}
    return {p.key for p in snapshot.engine_pods if p.address in heard or seen.is_vouched_for(p.address)}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A reading, and the engines whose answers are expected."""

    reading: TelemetryReading
    now_s: float
    expected: Mapping[str, Expected]

    def verdict(self, address: str) -> Liveness:
        """How one engine does."""
        quiet_s, is_vouched_for = self.quiet_s(address), self.is_vouched_for(address)
        if self._is_in_doubt(address):
            return Liveness.DOUBTED
        if quiet_s >= SILENT_AFTER_S and not is_vouched_for and not self._is_our_fault(address):
            return Liveness.SILENT
        if self._refuses_for_s(address) >= DEAD_AFTER_S and not is_vouched_for:
            return Liveness.DEAD
        if quiet_s > 0 or self.envoy_says(address) is EndpointHealth.UNHEALTHY:
            return Liveness.BUSY
        return Liveness.ANSWERS

    def quiet_s(self, address: str) -> float:
        """For how long the scrape has gone unanswered; 0 where the last one was answered."""
        return self._for_s(self.reading.unanswered_since_s, address)

    def envoy_says(self, address: str) -> EndpointHealth | None:
        """Envoy's word, where there is a fresh one."""
        return fresh(self.reading.endpoints.get(address), self.now_s, ENVOY_FRESH_S)

    def is_vouched_for(self, address: str) -> bool:
        """Whether Envoy's health checks or requests have been answered lately."""
        if self.envoy_says(address) is EndpointHealth.HEALTHY:
            return True
        answered_at_s = self.reading.answered_at_s.get(address)
        return answered_at_s is not None and self.now_s - answered_at_s < SILENT_AFTER_S

    def _refuses_for_s(self, address: str) -> float:
        return self._for_s(self.reading.refused_since_s, address)

    def _for_s(self, since_s: Mapping[str, float], address: str) -> float:
        if address not in since_s:
            return 0.0
        return max(0.0, self.now_s - max(since_s[address], self.expected[address].since_s))

    def _is_our_fault(self, address: str) -> bool:
        """No engine at all answers the scrape, and Envoy, which asks from elsewhere, does not agree."""
        is_alone = all(self.quiet_s(each) > 0 for each in self.expected)
        return is_alone and self.envoy_says(address) is not EndpointHealth.UNHEALTHY

    def _is_in_doubt(self, address: str) -> bool:
        """Whether it stopped answering together with a large part of the fleet, not long ago.

        Engines of one node are no such part: that node has failed.
        """
        if not DOUBT_FROM_S <= self.quiet_s(address) < DOUBT_UNTIL_S or self._has_answered_since(address):
            return False
        together = [each for each in self.expected if self._stopped_with(each, address)]
        is_all = len(together) == len(self.expected)
        is_many = len(together) >= MANY_ENGINES and len(together) >= MANY_SHARE * len(self.expected)
        return (is_all or is_many) and len({self.expected[each].node for each in together}) > 1

    def _stopped_with(self, other: str, address: str) -> bool:
        """Whether another engine does not answer either, since about the same moment."""
        since_s = self.reading.unanswered_since_s
        if other not in since_s or self._has_answered_since(other):
            return False
        return abs(since_s[other] - since_s[address]) <= SAME_MOMENT_S

    def _has_answered_since(self, address: str) -> bool:
        """Whether Envoy shows an answer that came after the scrape's last one.

        What is true of the moment before reaches Envoy's samples late: requests by one reading, its
        verdict by the time that it needs to find an engine unhealthy.
        """
        since_s = self.reading.unanswered_since_s[address]
        if self.reading.answered_at_s.get(address, since_s) > since_s + READING_S:
            return True
        sample = self.reading.endpoints.get(address)
        is_of_later = sample is not None and sample.at_s > since_s + ENVOY_EJECTS_AFTER_S + READING_S
        return is_of_later and self.envoy_says(address) is EndpointHealth.HEALTHY
