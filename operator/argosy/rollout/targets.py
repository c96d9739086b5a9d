"""What runs and what is wanted: the input of a roll-out, and what follows from it by counting.

Owns the shape of the input and the one question whether a group is served as planned. Never
decides a step (`steps`) and never makes room (`make_room`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from argosy.manifests import EngineWorkload
from argosy.snapshot.cluster import DeploymentState, PodState


@dataclass(frozen=True, slots=True)
class Target:
    """What the plan wants of one Deployment; one that it does not name gets 0 replicas.

    group: the class that it serves; empty where that is gone, so that nobody waits for it
    workload: None where it no longer resolves
    pool: where its replicas run, empty where that is not known
    is_kept: nothing could be planned for its class, so what runs is left alone
    """

    key: str
    group: str
    replicas: int
    workload: EngineWorkload | None
    pool: str = ""
    is_kept: bool = False


@dataclass(frozen=True)
class RolloutInputs:
    """What runs and what is wanted.

    targets: one for every Deployment that is planned or exists
    victims: pods in the order in which placement lets them go
    lost: keys of pods whose capacity is gone already
    without_room: planned replicas, by Deployment, that nothing but more room would start
    """

    targets: tuple[Target, ...]
    deployments: Mapping[str, DeploymentState]
    pods: tuple[PodState, ...]
    victims: tuple[str, ...] = ()
    lost: frozenset[str] = frozenset()
    without_room: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def _pods_by_deployment(self) -> dict[str, list[PodState]]:
        found: dict[str, list[PodState]] = {}
        for pod in self.pods:
            found.setdefault(pod.deployment, []).append(pod)
        return found

    @cached_property
    def unready_groups(self) -> frozenset[str]:
        """Groups of which some planned replica does not serve yet."""
        return frozenset(t.group for t in self.targets if self.num_serving(t.key) < t.replicas)

    def all_pods(self, deployment: str) -> tuple[PodState, ...]:
        """A Deployment's pods, those on their way out and those that have ended included."""
        return tuple(self._pods_by_deployment.get(deployment, ()))

    def live_pods(self, deployment: str) -> tuple[PodState, ...]:
        """The pods that Kubernetes counts among a Deployment's replicas."""
        return tuple(p for p in self.all_pods(deployment) if p.is_active and not p.deleting)

    def num_serving(self, deployment: str) -> int:
        """Replicas that answer requests."""
        return sum(p.ready and p.key not in self.lost for p in self.live_pods(deployment))

    def num_surplus(self, target: Target) -> int:
        """Replicas that exist beyond the plan."""
        existing = self.deployments.get(target.key)
        return max(0, existing.replicas - target.replicas) if existing else 0


def is_surplus_allowed_to_go(target: Target, inputs: RolloutInputs) -> bool:
    """Whether what a target has too much may go at once: the plan's own replicas carry its group."""
    return not target.is_kept and target.group not in inputs.unready_groups - {""}
