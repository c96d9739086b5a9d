"""Which nodes belong to a pool, and what of them can be used.

Owns the assignment of nodes to pools, and three states of a node. It is *unusable* where every engine
on it is lost, because its condition changes only seconds later; where it is not ready and no engine on it
answers; and where it is declared dead (out of service) or evicts engines at once (a NoExecute taint that
the pool does not tolerate), whatever answers there. It is *closed* where its taints keep new pods off, or
where it is not ready though its engines answer, or where its labels contradict the pool's GPU: those that run
there stay. It is *leaving* where its
removal is announced (`state.departure`; a cordon is an announcement): what runs there serves until its
successors on other nodes do, and stays where no other node has room. So is a *former* node: one that its pool
selects no longer (its labels or the pool's selector were edited) while replicas of the pool run there; until
they have left, it belongs to no other pool. A node that the selectors of several pools select belongs to the
oldest of them, and the statuses of the others report it. Input: a snapshot and the lost pods. Output:
`PoolNodes` by pool.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from argosy.api import GPUPool
from argosy.api.conditions import Reason
from argosy.control.hardware.labels import Unfit, node_check
from argosy.control.memory import HeldPool
from argosy.control.state.departure import departure, is_candidate, is_declared_dead
from argosy.keys import DeploymentKey
from argosy.plan.problem import NodesToCome
from argosy.snapshot.cluster import LABEL_POOL, NodeState, PodState, Taint, label_value
from argosy.snapshot.fleet import FleetSnapshot

_MIRRORING_TAINTS = frozenset(
    f"node.kubernetes.io/{what}" for what in ("not-ready", "unreachable", "unschedulable")
)
"""Taints with the meaning of `ready` and `unschedulable`; others (disk pressure, ...) block."""


_BLOCKING = ("NoSchedule", "NoExecute")
"""Effects of a taint that keep new pods off."""

MOST_NAMED = 3
"""Nodes that a sentence names; of more it gives the number."""


@dataclass(frozen=True, slots=True)
class UsableNode:
    """GPUs of a node that engine pods may use, those of foreign pods subtracted.

    gpus:         of a node that takes no new pods, those that engines hold
    takes_new:    False for a node that keeps what runs there and takes no new pod
    departure:    why its replicas should leave it, as the end of a sentence; empty where they may stay
    is_ready:     False for a node that is not ready though its engines answer
    is_candidate: the autoscaler may remove it, if it stays empty
    unfit:        why it does not have the GPU of its pool; None where nothing on it contradicts the pool
    """

    name: str
    gpus: int
    takes_new: bool = True
    departure: str = ""
    is_ready: bool = True
    is_candidate: bool = False
    unfit: Unfit | None = None


@dataclass(frozen=True, slots=True)
class SharedNodes:
    """Nodes that two pools select: they belong to the older one, and count there alone."""

    older: str
    younger: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PoolNodes:
    """A pool's nodes: all that it selects by name, and the usable ones of them.

    older_claimant: the older pool to which nodes of this one's selector belong; empty where there is none
    former: nodes that it selects no longer, and on which its replicas run
    shared: nodes that another pool selects as well, whichever of them is older
    to_come: nodes that do not exist yet; None where none may come
    held: the failure for which none is asked for now
    """

    pool: str
    all_names: tuple[str, ...]
    usable: tuple[UsableNode, ...]
    gpus_total: int
    older_claimant: str = ""
    former: tuple[UsableNode, ...] = ()
    shared: tuple[SharedNodes, ...] = ()
    to_come: NodesToCome | None = None
    held: HeldPool | None = None

    def has_room_for(self, gpus: int) -> bool:
        """Whether a node, or one that may come, could take a new replica of so many GPUs if no engine ran
        on it."""
        return any(node.gpus >= gpus for node in self.open) or self.may_bring(gpus)

    def may_bring(self, gpus: int) -> bool:
        """Whether a node may come that takes a replica of so many GPUs."""
        return self.to_come is not None and self.to_come.most > 0 and self.to_come.gpus >= gpus

    @property
    def open(self) -> tuple[UsableNode, ...]:
        """The nodes that take new replicas."""
        return tuple(node for node in self.usable if node.takes_new)

    @property
    def running(self) -> tuple[UsableNode, ...]:
        """The nodes on which its replicas may run, by name."""
        return tuple(sorted((*self.usable, *self.former), key=lambda node: node.name))

    @property
    def leaving(self) -> tuple[UsableNode, ...]:
        """The nodes that replicas should leave."""
        return tuple(node for node in self.running if node.departure)


def pool_nodes(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[str, PoolNodes]:
    """The nodes of every pool. `lost`: keys of the pods whose capacity does not count."""
    by_node: defaultdict[str, list[PodState]] = defaultdict(list)
    for pod in snapshot.pods.values():
        if pod.holds_devices:
            by_node[pod.destination].append(pod)
    former = _former_nodes(snapshot, lost)
    owner_by_node = {name: pool for pool, names in former.items() for name in names}
    found: dict[str, PoolNodes] = {}
    for name, pool in sorted(snapshot.pools.items(), key=lambda item: item[1].metadata.seniority):
        selector = pool.spec.node_selector.items()
        named = [n for _, n in sorted(snapshot.nodes.items()) if selector <= n.labels.items()]
        owners = {owner_by_node[n.name] for n in named if n.name in owner_by_node}
        older = sorted(owner for owner in owners if owner in found)
        members = [n for n in named if n.name not in owner_by_node]
        owner_by_node |= dict.fromkeys((n.name for n in members), name)
        found[name] = PoolNodes(
            pool=name,
            all_names=tuple(n.name for n in members),
            usable=_usable_nodes(pool, members, by_node, lost),
            gpus_total=len(members) * pool.spec.gpus_per_node,
            older_claimant="".join(older[:1]),
            former=tuple(
                _as_former(node, former[name][node.name], _held_gpus(pool, by_node[node.name], lost))
                for node in _usable_nodes(pool, _nodes_of(snapshot, former.get(name, {})), by_node, lost)
            ),
        )
    return {
        name: replace(each, shared=_shared(name, snapshot, found)) for name, each in sorted(found.items())
    }


def _shared(pool: str, snapshot: FleetSnapshot, found: Mapping[str, PoolNodes]) -> tuple[SharedNodes, ...]:
    """The nodes that this pool and another one select, by the other pool's name."""
    every = []
    for other in sorted(found.keys() - {pool}):
        older, younger = sorted((pool, other), key=lambda name: snapshot.pools[name].metadata.seniority)
        selector = snapshot.pools[younger].spec.node_selector.items()
        names = [name for name in found[older].all_names if selector <= snapshot.nodes[name].labels.items()]
        if names:
            every.append(SharedNodes(older, younger, tuple(names)))
    return tuple(every)


def _former_nodes(snapshot: FleetSnapshot, lost: frozenset[str]) -> dict[str, dict[str, str]]:
    """By pool: the nodes that it selects no longer and on which its replicas run, each with why.

    A node on which replicas of a pool run that selects it is that pool's.
    """
    found: dict[str, dict[str, str]] = {}
    taken: set[str] = set()
    homes: list[tuple[str, NodeState, GPUPool]] = []
    for pod in snapshot.engine_pods:
        pool, node = pool_of(pod, snapshot), snapshot.nodes.get(pod.destination)
        if pool is None or node is None or pod.deleting or pod.key in lost:
            continue
        if pool.spec.node_selector.items() <= node.labels.items():
            taken.add(node.name)
        else:
            homes.append((node.name, node, pool))
    for name, node, pool in homes:
        its = found.setdefault(pool.key, {})
        if name in its or name not in taken:
            taken.add(name)
            its[name] = _unselected_text(pool, node)
    return found


def _unselected_text(pool: GPUPool, node: NodeState) -> str:
    """Which label of a node its pool no longer selects, as the end of a sentence."""
    selector = sorted(pool.spec.node_selector.items())
    key, wanted = next((k, v) for k, v in selector if node.labels.get(k) != v)
    if key not in node.labels:
        return f"it has no label {key}, and spec.nodeSelector asks for {key}={wanted}"
    return f"its label {key} is {node.labels[key]}, and spec.nodeSelector asks for {key}={wanted}"


def new_pod_nodes(pools: Mapping[str, PoolNodes]) -> frozenset[str]:
    """Names of the nodes that may be given to a new pod: the one rule for every placement."""
    return frozenset(node.name for pool in pools.values() for node in pool.open)


def closed_pods(snapshot: FleetSnapshot, pools: Mapping[str, PoolNodes]) -> frozenset[str]:
    """Keys of the engine pods on nodes that take no new pods: no other replica can use their GPUs."""
    names = {node.name for pool in pools.values() for node in pool.running if not node.takes_new}
    return frozenset(p.key for p in snapshot.engine_pods if p.destination in names)


def closed_nodes(pools: Mapping[str, PoolNodes]) -> dict[str, bool]:
    """The nodes that keep what runs there and take no new pods, each with whether that should leave it."""
    running = (node for pool in pools.values() for node in pool.running)
    return {node.name: bool(node.departure) for node in running if not node.takes_new}


def leaving_pods(snapshot: FleetSnapshot, pools: Mapping[str, PoolNodes]) -> frozenset[str]:
    """Keys of the engine pods on nodes whose removal is announced."""
    names = {node.name for pool in pools.values() for node in pool.leaving}
    return frozenset(p.key for p in snapshot.engine_pods if p.destination in names)


def outside_places(
    snapshot: FleetSnapshot, pools: Mapping[str, PoolNodes], lost: frozenset[str]
) -> dict[DeploymentKey, Counter[str]]:
    """Replicas by Deployment and node where the node belongs to an older pool by now: they serve on."""
    found: dict[DeploymentKey, Counter[str]] = {}
    for pod in snapshot.engine_pods:
        pool = pool_of(pod, snapshot)
        is_there = pod.destination in snapshot.nodes and not pod.deleting and pod.key not in lost
        if not is_there or pool is None:
            continue
        its = pools[pool.key]
        if pod.destination not in {*its.all_names, *(node.name for node in its.former)}:
            found.setdefault(pod.deployment, Counter())[pod.destination] += 1
    return found


def evicted_pods(snapshot: FleetSnapshot) -> frozenset[str]:
    """Keys of the engine pods that Kubernetes evicts at once: a NoExecute taint that they do not tolerate."""
    found = set()
    for pod in snapshot.engine_pods:
        node, pool = snapshot.nodes.get(pod.node), pool_of(pod, snapshot)
        if node is not None and pool is not None and _evicts(pool, node):
            found.add(pod.key)
    return frozenset(found)


def mismatch(gpu: str, nodes: PoolNodes) -> str:
    """The sentence on the nodes that do not have their pool's GPU, by cause; empty where all have it."""
    by_cause: dict[Unfit, list[str]] = {}
    for node in nodes.usable:
        if node.unfit is not None:
            by_cause.setdefault(node.unfit, []).append(node.name)
    if not by_cause:
        return ""
    causes = list(by_cause.items())[:MOST_NAMED]
    found = "; ".join(f"{_named_nodes(names)}: {cause.found}" for cause, names in causes)
    remedies = dict.fromkeys(cause.remedy for cause, _ in causes)
    return Reason.GPU_MISMATCH.sentence(gpu=gpu, found=found, remedy="; ".join(remedies))


def _named_nodes(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"node{'s' if len(names) > 1 else ''} {', '.join(names[:MOST_NAMED])}{more}"


def unusable_text(snapshot: FleetSnapshot, pool: str, lost: frozenset[str]) -> str:
    """`node n1: it is not Ready, node n2: pod default/p is Terminating and has not ended and 2 more`."""
    nodes, item = pool_nodes(snapshot, lost)[pool], snapshot.pools[pool]
    usable = {node.name for node in nodes.usable}
    pods = [pod for pod in snapshot.engine_pods if pod.key in lost]
    named = [
        f"node {name}: {_ill_text(item, snapshot.nodes[name])}"
        if name in usable
        else f"node {name}: {_why_unusable(snapshot.nodes[name], pods)}"
        for name in unhealthy_gpus(item, nodes, snapshot)
    ]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return ", ".join(named[:MOST_NAMED]) + more if named else "their nodes were not usable a moment ago"


def _ill_text(pool: GPUPool, node: NodeState) -> str:
    resource = pool.spec.resource_name
    return f"{node.unhealthy(resource)} of its {node.capacity[resource]} {resource} are unhealthy"


def _why_unusable(node: NodeState, lost: Iterable[PodState]) -> str:
    if is_declared_dead(node):
        return "it is out of service"
    if not node.ready:
        return "it is not Ready"
    here = [pod for pod in lost if pod.destination == node.name]
    for pod in here:
        if pod.deleting:
            return f"pod {pod.key} is Terminating and has not ended"
    if here:
        return f"the engine in pod {here[0].key} answers nothing"
    return "a taint with NoExecute that spec.tolerations does not name"


def selector_text(pool: GPUPool) -> str:
    """A pool's node selector for sentences: `key=value`, by key."""
    return ", ".join(f"{key}={value}" for key, value in sorted(pool.spec.node_selector.items()))


def _usable_nodes(
    pool: GPUPool,
    members: Iterable[NodeState],
    pods: Mapping[str, list[PodState]],
    lost: frozenset[str],
) -> tuple[UsableNode, ...]:
    usable: list[UsableNode] = []
    unfit_of = node_check(pool.spec)
    for node in members:
        on_it = pods.get(node.name, [])
        if not _is_usable(pool, node, on_it, lost):
            continue
        unfit = unfit_of(node)
        takes_new = unfit is None and _takes_new_pods(pool, node)
        usable.append(
            UsableNode(
                name=node.name,
                gpus=_usable_gpus(pool, node, on_it, lost) if takes_new else _held_gpus(pool, on_it, lost),
                takes_new=takes_new,
                departure=departure(node),
                is_ready=node.ready,
                is_candidate=is_candidate(node),
                unfit=unfit,
            )
        )
    return tuple(usable)


def _as_former(node: UsableNode, why: str, gpus: int) -> UsableNode:
    """A node that its pool selects no longer: it takes no new replicas. gpus: those that replicas hold"""
    return replace(node, gpus=gpus, takes_new=False, departure=node.departure or why)


def _is_usable(pool: GPUPool, node: NodeState, on_it: list[PodState], lost: frozenset[str]) -> bool:
    if is_declared_dead(node) or _evicts(pool, node) or _has_lost_all(on_it, lost):
        return False
    return node.ready or _serves(on_it, lost)


def _usable_gpus(pool: GPUPool, node: NodeState, on_it: list[PodState], lost: frozenset[str]) -> int:
    resource = pool.spec.resource_name
    own = min(node.allocatable.get(resource, 0), pool.spec.gpus_per_node)
    foreign = sum(p.devices.get(resource, 0) for p in on_it if not p.deployment and p.node)
    # A lost engine beside answering ones keeps its GPUs: they are not free.
    held = sum(p.devices.get(resource, 0) for p in on_it if p.key in lost and p.node)
    # Its GPU may be the unhealthy one, which is not among the node's own any more.
    return max(0, own - foreign - max(0, held - node.unhealthy(resource)))


def unhealthy_gpus(pool: GPUPool, nodes: PoolNodes, snapshot: FleetSnapshot) -> dict[str, int]:
    """GPUs of a pool that cannot be used, by node: all of an unusable one, the unhealthy ones of others."""
    usable, spec = {node.name for node in nodes.usable}, pool.spec
    found = {
        name: spec.gpus_per_node
        if name not in usable
        else min(spec.gpus_per_node, snapshot.nodes[name].unhealthy(spec.resource_name))
        for name in nodes.all_names
    }
    return {name: gpus for name, gpus in found.items() if gpus}


def _held_gpus(pool: GPUPool, on_it: list[PodState], lost: frozenset[str]) -> int:
    """GPUs that engines hold on a node and keep."""
    kept = (p for p in on_it if p.deployment and p.node and not p.deleting and p.key not in lost)
    return sum(p.devices.get(pool.spec.resource_name, 0) for p in kept)


def _nodes_of(snapshot: FleetSnapshot, names: Iterable[str]) -> list[NodeState]:
    return [snapshot.nodes[name] for name in sorted(names)]


def _takes_new_pods(pool: GPUPool, node: NodeState) -> bool:
    return node.ready and not departure(node) and not untolerated(pool, node)


def _evicts(pool: GPUPool, node: NodeState) -> bool:
    return any(t.effect == "NoExecute" for t in untolerated(pool, node))


def untolerated(pool: GPUPool, node: NodeState) -> list[Taint]:
    """A node's taints with a meaning of their own that keep replicas of a pool off it."""
    return [
        taint
        for taint in node.taints
        if taint.effect in _BLOCKING and taint.key not in _MIRRORING_TAINTS and not _tolerates(pool, taint)
    ]


def pool_of(pod: PodState, snapshot: FleetSnapshot) -> GPUPool | None:
    """The pool that a pod was made for: its tolerations are the pod's."""
    label = pod.labels.get(LABEL_POOL, "")
    return next((pool for name, pool in snapshot.pools.items() if label_value(name) == label), None)


def _tolerates(pool: GPUPool, taint: Taint) -> bool:
    return any(
        (t.key == taint.key or (not t.key and t.operator == "Exists"))
        and (t.effect is None or t.effect == taint.effect)
        and (t.operator == "Exists" or (t.value or "") == taint.value)
        for t in pool.spec.tolerations
    )


def _has_lost_all(pods: Iterable[PodState], lost: frozenset[str]) -> bool:
    ours = [p for p in pods if p.deployment]
    return bool(ours) and all(p.key in lost for p in ours)


def _serves(pods: Iterable[PodState], lost: frozenset[str]) -> bool:
    """Whether an engine runs there whose capacity counts: of a node that is not ready, one that answers."""
    return any(p.deployment and p.node and p.should_answer and p.key not in lost for p in pods)
