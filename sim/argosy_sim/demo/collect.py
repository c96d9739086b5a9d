"""From observations and logs to evidence.

Owns the translation of what was observed (Unix time, object keys) into the story's terms (seconds since
act 1 began, class and variant names). Input: `RunFacts` and `Observations`. Output: `Evidence`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from argosy.api.conditions import Reason
from argosy.client.records import read_records
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy_sim.demo.evidence import Evidence, PlanSeen, ReplicaSeen, ShareSample, StaticPeak
from argosy_sim.demo.story import Story
from argosy_sim.demo.watch import Observations
from argosy_sim.livefleet.event_log import read_events
from argosy_sim.measures.cost import PriceStep


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the run itself knows: where its files are, when act 1 began, what it changed in the cluster."""

    story: Story
    origin_s: float
    records: Path
    events: Path
    prices: tuple[PriceStep, ...]
    static_peak: StaticPeak
    load_delay_s: float
    trace: str
    dead_node: str | None
    left_running: tuple[str, ...]
    not_judged: tuple[str, ...] = ()


class _Planned(NamedTuple):
    """What a plan's Deployment runs, for which sharing group (in the demo: one class each), and where."""

    variant: str
    group: str
    pool: str


@dataclass(frozen=True, slots=True)
class _Deployments:
    """The Deployments of every plan observed."""

    by_key: Mapping[DeploymentKey, _Planned]

    @classmethod
    def of(cls, observed: Observations) -> _Deployments:
        return cls(
            {
                DeploymentKey(d["name"]): _Planned(d["variant"], GroupName(d["sharingGroup"]).name, d["pool"])
                for _, plan in observed.plans
                for d in plan["spec"].get("deployments", ())
            }
        )

    def of_pod(self, pod: str) -> _Planned | None:
        """The Deployment of the pod `namespace/deployment-hash-hash`; None where no plan has it."""
        return self.by_key.get(DeploymentKey(pod.rsplit("-", 2)[0]))


def collect(facts: RunFacts, observed: Observations) -> Evidence:
    """Everything that is known about the run."""
    deployments = _Deployments.of(observed)
    with facts.records.open() as lines:
        requests = tuple(read_records(lines))
    return Evidence(
        story=facts.story,
        requests=requests,
        plans=_plans(facts, observed, deployments),
        replicas=_replicas(facts, observed, deployments),
        prices=facts.prices,
        shares=_shares(facts, observed, deployments),
        static_peak=facts.static_peak,
        load_delay_s=facts.load_delay_s,
        trace=facts.trace,
        dead_node=facts.dead_node,
        left_running=facts.left_running,
        memory_bytes=dict(sorted(observed.memory_bytes.items())),
        not_judged=facts.not_judged,
    )


def _plans(facts: RunFacts, observed: Observations, deployments: _Deployments) -> tuple[PlanSeen, ...]:
    first_at_s: dict[int, float] = {}
    last: dict[int, dict[str, Any]] = {}
    applied: set[int] = set()
    checked: set[int] = set()
    for at_s, plan in observed.plans:
        revision = plan["spec"]["revision"]
        first_at_s.setdefault(revision, at_s)
        last[revision] = plan
        for condition in plan.get("status", {}).get("conditions", ()):
            if condition["type"] == "Applied" and condition["status"] == "True":
                applied.add(revision)
            # A plan gets this reason only after it passed the independent check.
            if condition["type"] == "Certified" and condition["reason"] == Reason.NO_SIMULATOR:
                checked.add(revision)
    return tuple(
        _plan(last[r], first_at_s[r] - facts.origin_s, deployments, (r in applied, r in checked))
        for r in sorted(last)
    )


def _planned_shares(
    cells: Iterable[Mapping[str, Any]], deployments: _Deployments
) -> dict[str, dict[str, float]]:
    """Shares (0-1) of each class's requests by variant: those of its cells, weighted with their rates."""
    rate_per_s: dict[str, float] = {}
    found: dict[str, dict[str, float]] = {}
    for cell in cells:
        name, rate = ClassKey(cell["workloadClass"]).name, cell["requestsPerSecond"]
        rate_per_s[name] = rate_per_s.get(name, 0.0) + rate
        shares = found.setdefault(name, {})
        for s in cell.get("shares", ()):
            if s["share"] > 0:
                variant = deployments.by_key[DeploymentKey(s["deployment"])].variant
                shares[variant] = shares.get(variant, 0.0) + s["share"] * rate
    return {
        name: {variant: part / rate_per_s[name] for variant, part in shares.items()}
        if rate_per_s[name]
        else {}
        for name, shares in found.items()
    }


def _plan(
    plan: dict[str, Any], at_s: float, deployments: _Deployments, verdict: tuple[bool, bool]
) -> PlanSeen:
    spec = plan["spec"]
    replicas: dict[str, int] = {}
    for deployment in spec.get("deployments", ()):
        if deployment["replicas"]:
            variant = deployment["variant"]
            replicas[variant] = replicas.get(variant, 0) + deployment["replicas"]
    return PlanSeen(
        revision=spec["revision"],
        at_s=at_s,
        trigger=spec["trigger"],
        cost_usd_per_hour=spec["costUsdPerHour"],
        replicas=replicas,
        shares=_planned_shares(spec.get("cells", ()), deployments),
        reasons=tuple(r["message"] for r in spec.get("reasons", ())),
        is_applied=verdict[0],
        passed_check=verdict[1],
    )


def _replicas(facts: RunFacts, observed: Observations, deployments: _Deployments) -> tuple[ReplicaSeen, ...]:
    lives: dict[str, dict[str, Any]] = {}
    for event in read_events(facts.events):
        pod = event.get("pod")
        if pod is None or deployments.of_pod(pod) is None:
            continue
        life = lives.setdefault(pod, {"node": event.get("node", ""), "gpus": event.get("gpus") or 0})
        life["address"] = event.get("address") or life.get("address") or ""
        life["gpus"] = event.get("gpus") or life["gpus"]
        life.setdefault(event["event"], event["at"] - facts.origin_s)
    return tuple(
        _replica(pod, life, planned, _Health(life["address"], observed, facts.origin_s))
        for pod, life in lives.items()
        if "bound" in life and (planned := deployments.of_pod(pod)) is not None
    )


@dataclass(frozen=True, slots=True)
class _Health:
    """When Envoy's view of one endpoint changed, in seconds since the origin; None: not observed."""

    address: str
    observed: Observations
    origin_s: float

    def since_origin(self, times_s: Mapping[str, float]) -> float | None:
        at_s = times_s.get(self.address)
        return None if at_s is None else at_s - self.origin_s


def _replica(pod: str, life: dict[str, Any], planned: _Planned, health: _Health) -> ReplicaSeen:
    return ReplicaSeen(
        pod=pod,
        variant=planned.variant,
        class_name=planned.group,
        pool=planned.pool,
        node=life["node"],
        address=life["address"],
        gpus=life["gpus"],
        bound_s=life["bound"],
        ready_s=life.get("ready"),
        healthy_s=health.since_origin(health.observed.healthy_s),
        unhealthy_s=health.since_origin(health.observed.unhealthy_s),
        silent_s=life.get("silent"),
        gone_s=life.get("gone"),
    )


def _shares(facts: RunFacts, observed: Observations, deployments: _Deployments) -> tuple[ShareSample, ...]:
    samples = []
    before: dict[str, int] = {}
    for at_s, counts in observed.requests:
        by_class: dict[str, dict[str, int]] = {}
        for cluster, total in counts.items():
            if (planned := deployments.by_key.get(DeploymentKey(cluster))) is not None:
                gained = total - before.get(cluster, 0)
                of_class = by_class.setdefault(planned.group, {})
                of_class[planned.variant] = of_class.get(planned.variant, 0) + max(0, gained)
        before = counts
        samples.append(ShareSample(at_s - facts.origin_s, by_class))
    return tuple(samples)
