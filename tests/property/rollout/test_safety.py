"""A roll-out is safe at every step and arrives, whatever ran before and however full the pool is.

`Pool` is a Deployment controller, a scheduler and engines that load and drain, in rounds instead
of seconds; placement is first come, first served.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import builders
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_fleet import a_pool

from argosy.keys import DeploymentKey, GroupName, ModelKey
from argosy.manifests import EngineWorkload
from argosy.rollout import (
    CreateDeployment,
    DeleteDeployment,
    MarkVictim,
    RolloutInputs,
    ScaleDeployment,
    Target,
    rollout_steps,
)
from argosy.rollout.make_room import giving_way
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.cluster import DeploymentState, PodState

LOAD_ROUNDS, DRAIN_ROUNDS = 3, 2
STATES = st.sampled_from(["serving", "loading", "gated", "draining", "lost", "failed"])


def workload(letter: str) -> EngineWorkload:
    engine = EngineSettings(max_num_seqs=ord(letter))
    variant = Variant(ModelKey("d/m"), "small", ("m",), "l40s", "L40S", 1, engine)
    return EngineWorkload(variant, GroupName(f"d/{letter}"), a_pool())


WORKLOADS = {workload(letter).key: workload(letter) for letter in "abcd"}
KEYS = sorted(WORKLOADS)


def a_pod(key: str, number: int, state: str) -> PodState:
    return builders.a_pod(
        f"{DeploymentKey(key).name}-{number}",
        "" if state == "gated" else "n",
        namespace="d",
        uid=str(number),
        deployment=key,
        phase="Failed" if state == "failed" else "Running",
        ready=state in ("serving", "draining", "lost"),
        deleting=state == "draining",
        gated=state == "gated",
    )


@st.composite
def scenes(draw: st.DrawFn) -> RolloutInputs:
    """Any state at all: counts, pods and plans that need not have anything to do with each other."""
    targets, deployments, pods, lost = [], {}, [], set()
    for key in KEYS:
        group = draw(st.sampled_from(["d/one", "d/two", ""]))
        planned = draw(st.integers(0, 3)) if group else 0
        is_kept = bool(group) and planned == 0 and draw(st.booleans())
        pool, cells = (
            draw(st.sampled_from(["p", "q"])),
            draw(st.frozensets(st.sampled_from(["short", "long"]))),
        )
        targets.append(Target(key, group, planned, WORKLOADS[key], pool, is_kept, cells))
        if draw(st.booleans()):
            deployments[key] = DeploymentState(key, draw(st.integers(0, 4)))
        for number, state in enumerate(draw(st.lists(STATES, max_size=5))):
            pods.append(a_pod(key, number, state))
            if state == "lost":
                lost.add(pods[-1].key)
    return RolloutInputs(
        targets=tuple(targets),
        deployments=deployments,
        pods=tuple(pods),
        victims=tuple(draw(st.permutations([p.key for p in pods]))),
        lost=frozenset(lost),
        without_room={t.key: draw(st.integers(0, t.replicas)) for t in targets if t.replicas},
    )


@given(inputs=scenes())
@settings(max_examples=400, deadline=None)
def test_no_state_makes_a_step_that_is_not_safe(inputs: RolloutInputs) -> None:
    targets = {t.key: t for t in inputs.targets}
    live = {key: inputs.live_pods(key) for key in KEYS}
    is_ready = {
        t.group: all(inputs.num_serving(o.key) >= o.replicas for o in inputs.targets if o.group == t.group)
        for t in inputs.targets
    }
    down = []
    for each in rollout_steps(inputs):
        match each:
            case CreateDeployment(created, count):
                assert created.key not in inputs.deployments
                assert count == targets[created.key].replicas > 0
            case ScaleDeployment(key, count):
                before = inputs.deployments[key].replicas
                assert count != before
                assert count >= targets[key].replicas
                assert count <= max(before, 4 * targets[key].replicas)
                in_vain = 0 if targets[key].is_kept else inputs.num_never_served(targets[key])
                is_waiting = targets[key].group and not is_ready[targets[key].group]
                if is_waiting and before - count > in_vain:
                    assert (count, key in giving_way(inputs)) == (before - 1, True)
                    down.append(key)
            case DeleteDeployment(key):
                assert inputs.deployments[key].replicas == targets[key].replicas == 0
                assert not any(p.deployment == key for p in inputs.pods)
            case MarkVictim(pod, cost):
                [its] = [p for p in inputs.pods if p.key == pod]
                assert its in live[its.deployment]
                assert its.deletion_cost != cost
    assert len({targets[key].pool for key in down}) == len(down)
    for key in down:
        serving = sum(inputs.num_serving(t.key) for t in inputs.targets if t.group == targets[key].group)
        idle = len(live[key]) - inputs.num_serving(key)
        assert serving > 1 or idle > 0
        for cell in targets[key].cells:
            able = [t for t in inputs.targets if t.group == targets[key].group and cell in t.cells]
            assert sum(inputs.num_serving(t.key) for t in able) > 1 or idle > 0


@dataclass
class Pool:
    """One pool of `size` GPUs and the Deployments in it."""

    size: int
    plan: dict[str, int]
    group: dict[str, str]
    deployments: dict[str, DeploymentState] = field(default_factory=dict)
    pods: dict[str, PodState] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    since: dict[str, int] = field(default_factory=dict)
    now: int = 0
    made: int = 0

    def inputs(self) -> RolloutInputs:
        keys = sorted(self.plan.keys() | self.deployments.keys())
        # As placement does: kept pods and those on their way out hold their room.
        free = self.size - sum(bool(p.node) for p in self.pods.values())
        without_room = {}
        for key in keys:
            placed = sum(
                bool(p.node) and p.key not in self.lost and not p.deleting
                for p in self.pods.values()
                if p.deployment == key
            )
            missing = max(0, self.plan.get(key, 0) - placed)
            without_room[key] = missing - min(free, missing)
            free -= min(free, missing)
        return RolloutInputs(
            targets=tuple(Target(k, self.group[k], self.plan.get(k, 0), WORKLOADS[k], "p") for k in keys),
            deployments=dict(self.deployments),
            pods=tuple(p for _, p in sorted(self.pods.items())),
            lost=frozenset(self.lost),
            without_room=without_room,
        )

    def is_at_rest(self) -> bool:
        """True if nothing is left to be done or to be waited for."""
        moving = any(p.deleting or not p.ready for p in self.pods.values())
        return not moving and not rollout_steps(self.inputs())

    def round(self) -> None:
        """One decision and what Kubernetes makes of it."""
        for each in rollout_steps(self.inputs()):
            match each:
                case CreateDeployment(created, count):
                    self.deployments[created.key] = DeploymentState(created.key, count)
                case ScaleDeployment(key, count):
                    self.deployments[key] = DeploymentState(key, count)
                case DeleteDeployment(key):
                    del self.deployments[key]
                case MarkVictim(pod, cost):
                    self.pods[pod] = replace(self.pods[pod], deletion_cost=cost)
        self.now += 1
        self._kubernetes()

    def _kubernetes(self) -> None:
        for key, pod in list(self.pods.items()):
            age = self.now - self.since[key]
            if pod.deleting and age >= DRAIN_ROUNDS:
                del self.pods[key]
                self.lost.discard(key)
            elif pod.node and not pod.ready and age >= LOAD_ROUNDS:
                self.pods[key] = replace(pod, ready=True)
        for deployment in self.deployments.values():
            live = [p for p in self.pods.values() if p.deployment == deployment.key and not p.deleting]
            for _ in range(deployment.replicas - len(live)):
                self.add(deployment.key, "gated")
            live.sort(key=lambda p: (bool(p.node), p.ready, p.deletion_cost, p.key))
            for pod in live[: max(0, len(live) - deployment.replicas)]:
                self.pods[pod.key] = replace(pod, deleting=True)
                self.since[pod.key] = self.now - (0 if pod.node else DRAIN_ROUNDS)
        for key, pod in sorted(self.pods.items()):
            taken = sum(bool(p.node) for p in self.pods.values())
            held = sum(
                bool(p.node) and p.key not in self.lost and not p.deleting
                for p in self.pods.values()
                if p.deployment == pod.deployment
            )
            is_planned = held < self.plan.get(pod.deployment, 0)
            if not pod.node and not pod.deleting and is_planned and taken < self.size:
                self.pods[key] = replace(pod, node="n", gated=False)
                self.since[key] = self.now

    def add(self, deployment: str, state: str) -> None:
        self.made += 1
        pod = a_pod(deployment, self.made, state)
        self.pods[pod.key] = pod
        self.since[pod.key] = self.now

    def serving(self) -> Counter[str]:
        return Counter(
            self.group[p.deployment]
            for p in self.pods.values()
            if p.ready and not p.deleting and p.key not in self.lost
        )


def counts(keys: list[str]) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries({key: st.integers(0, 4) for key in keys})


@given(
    before=counts(KEYS),
    after=counts(KEYS),
    spare=st.integers(0, 8),
    num_lost=st.integers(0, 2),
    one_group=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_every_roll_out_arrives_and_keeps_serving(
    before: dict[str, int], after: dict[str, int], spare: int, num_lost: int, one_group: bool
) -> None:
    group = {key: "d/one" if one_group or key in KEYS[:2] else "d/two" for key in KEYS}
    # Plans do not count on the GPUs of lost replicas, so there are as many more.
    size = max(sum(before.values()), sum(after.values())) + spare + num_lost
    pool = Pool(size, after, group)
    for key, count in before.items():
        pool.deployments[key] = DeploymentState(key, count)
        for _ in range(count):
            pool.add(key, "serving")
    pool.lost = set(sorted(pool.pods)[:num_lost])
    at_first, wanted = pool.serving(), Counter[str]()
    for key, count in after.items():
        wanted[group[key]] += count
    # A group of which nothing or all but nothing serves may be held by its last replica (below).
    assume(all(min(at_first[g], wanted[g]) != 1 or spare for g in wanted))
    has_room_for_both = size >= sum(before.values()) + sum(after.values()) + num_lost
    least = Counter(at_first)
    for _ in range(300):
        pool.round()
        least = Counter({g: min(least[g], pool.serving()[g]) for g in group.values()})
        if pool.is_at_rest():
            break
    assert {key: d.replicas for key, d in pool.deployments.items()} == {k: n for k, n in after.items() if n}
    assert pool.serving() == +wanted
    for name in set(group.values()):
        promised = min(at_first[name], wanted[name])
        assert least[name] >= (promised if has_room_for_both else min(1, promised))


@given(size=st.integers(1, 6))
@settings(max_examples=6, deadline=None)
def test_a_full_pool_loses_one_replica_at_a_time_and_never_its_last(size: int) -> None:
    old, new = KEYS[:2]
    pool = Pool(size, {new: size}, dict.fromkeys(KEYS, "d/one"))
    pool.deployments[old] = DeploymentState(old, size)
    for _ in range(size):
        pool.add(old, "serving")
    least = size
    for _ in range(20 * size):
        pool.round()
        least = min(least, pool.serving()["d/one"])
    assert least == max(1, size - 1)
    arrived = {key: d.replicas for key, d in pool.deployments.items()} == {new: size}
    assert arrived is (size > 1)
