"""What runs and what is wanted: the input of a roll-out, and what follows from it by counting.

Owns the shape of the input, and the test whether a group is served as planned. The steps are decided
by `steps`, and which replica gives way where there is no room by `make_room`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from argosy.keys import CellName, DeploymentKey, GroupName
from argosy.manifests import EngineWorkload
from argosy.snapshot.cluster import LABEL_TEMPLATE_HASH, DeploymentState, PodState
from argosy.snapshot.serving import never_served, takes_requests


@dataclass(frozen=True, slots=True)
class Target:
    """The planned replicas of one Deployment: 0 where the plan does not name it.

    group: the sharing group that it belongs to; empty where no class of it exists any more, so that
        its surplus waits for no other Deployment
    workload: None where its variant no longer exists
    pool: where its replicas run, empty where that is not known
    is_kept: nothing could be planned for its group, so the running replicas stay
    is_short: its group is not served whole for lack of room, so replicas stay on nodes that take no new
        ones: nothing else could use their GPUs
    cells: the cells that it can serve, where that is known: the last replica that serves one of
        them does not give way. Empty: only the group as a whole is looked at
    may_interrupt: its users let the last replica that serves go, where that makes room for a planned one
    is_autoscaled: an autoscaler sets the count of the Deployment: it is left alone
    successors: other groups that its cells have moved to: its surplus waits for their replicas too
    is_adopted: a user runs it: its count is only lowered
    is_given_back: the user wants it back: nothing of it changes, and its marks are removed
    """

    key: DeploymentKey
    group: GroupName
    replicas: int
    workload: EngineWorkload | None
    pool: str = ""
    is_kept: bool = False
    is_short: bool = False
    cells: frozenset[CellName] = frozenset()
    successors: frozenset[GroupName] = frozenset()
    may_interrupt: bool = False
    is_autoscaled: bool = False
    is_adopted: bool = False
    is_given_back: bool = False

    @property
    def relieved_by(self) -> frozenset[GroupName]:
        """The groups whose planned replicas take its surplus's requests over."""
        return (self.successors | {self.group}) - {GroupName()}


@dataclass(frozen=True)
class RolloutInputs:
    """What runs and what is wanted.

    targets: one for each Deployment that is planned or exists
    victims: pods in the order in which placement lets them go
    lost: keys of pods that do not serve any more; they go once others serve in their place
    stranded: those of them whose nodes are not ready
    leaving: keys of pods on leaving nodes that should be replaced on others: they serve until then
    closed: keys of pods on nodes that take no new ones, the leaving ones included
    without_room: planned replicas, by Deployment, that only wait for free GPUs
    quota_starved: Deployments whose missing replicas wait for room in a quota of their namespace
    unrouted: keys of ready pods to which Envoys do not send requests (yet): they stand for nothing
    protected: replicas that the PodDisruptionBudget of each Deployment keeps ready, where it has one
    """

    targets: tuple[Target, ...]
    deployments: Mapping[DeploymentKey, DeploymentState]
    pods: tuple[PodState, ...]
    victims: tuple[str, ...] = ()
    lost: frozenset[str] = frozenset()
    stranded: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    without_room: Mapping[DeploymentKey, int] = field(default_factory=dict)
    quota_starved: frozenset[DeploymentKey] = frozenset()
    unrouted: frozenset[str] = frozenset()
    protected: Mapping[DeploymentKey, int] = field(default_factory=dict)

    @cached_property
    def _pods_by_deployment(self) -> dict[DeploymentKey, list[PodState]]:
        found: dict[DeploymentKey, list[PodState]] = {}
        for pod in self.pods:
            found.setdefault(pod.deployment, []).append(pod)
        return found

    @cached_property
    def unready_groups(self) -> frozenset[GroupName]:
        """Groups of which some planned replica does not serve yet: one that leaves is none of them."""
        return frozenset(t.group for t in self.targets if self.num_settled(t.key) < t.replicas)

    def all_pods(self, deployment: DeploymentKey) -> tuple[PodState, ...]:
        """A Deployment's pods, those that are being deleted and those that have ended included."""
        return tuple(self._pods_by_deployment.get(deployment, ()))

    def live_pods(self, deployment: DeploymentKey) -> tuple[PodState, ...]:
        """The pods that Kubernetes counts among a Deployment's replicas."""
        return tuple(p for p in self.all_pods(deployment) if p.is_active and not p.deleting)

    def is_rolling(self, deployment: DeploymentKey) -> bool:
        """Whether its pods are of several templates: a lower count is then divided among them, and takes
        pods that no mark has chosen."""
        return len({p.labels.get(LABEL_TEMPLATE_HASH) for p in self.live_pods(deployment)}) > 1

    def num_serving(self, deployment: DeploymentKey) -> int:
        """Replicas that get requests and answer them."""
        without = self.lost | self.unrouted
        return sum(takes_requests(p, without) for p in self.all_pods(deployment))

    def num_serving_or_going(self, deployment: DeploymentKey) -> int:
        """The same with those that are marked: which one gives way must not depend on its mark."""
        without = self.lost | self.unrouted
        pods = self.all_pods(deployment)
        return sum(takes_requests(p, self.lost if p.is_marked else without) for p in pods)

    def num_ready(self, deployment: DeploymentKey) -> int:
        """Replicas that Kubernetes takes for serving: it removes the others first."""
        return sum(takes_requests(p, self.lost) for p in self.all_pods(deployment))

    def num_settled(self, deployment: DeploymentKey) -> int:
        """Replicas that get requests, answer them and stay where they are."""
        without = self.lost | self.unrouted | self.leaving
        return sum(takes_requests(p, without) for p in self.all_pods(deployment))

    def num_held(self, target: Target) -> int:
        """Surplus that serves on nodes that take no new replicas while its group lacks room elsewhere."""
        if not target.is_short or target.replicas:
            return 0
        pods = self.all_pods(target.key)
        return sum(takes_requests(p, self.lost) and p.key in self.closed for p in pods)

    def num_never_served(self, target: Target) -> int:
        """Replicas that only load. None where others are not ready: Kubernetes might remove one of those."""
        unready = [p for p in self.live_pods(target.key) if not p.ready]
        return len(unready) if all(map(never_served, unready)) else 0

    def num_surplus(self, target: Target) -> int:
        """Replicas that exist beyond the plan."""
        existing = self.deployments.get(target.key)
        if existing is None or target.is_autoscaled:
            return 0
        return max(0, existing.replicas - target.replicas)


def is_surplus_allowed_to_go(target: Target, inputs: RolloutInputs) -> bool:
    """True if a target's surplus may go at once: the planned replicas of its group are Ready."""
    return not target.is_kept and not target.relieved_by & inputs.unready_groups
