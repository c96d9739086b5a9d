"""From sightings and logs to evidence.

Owns the translation of what was seen (Unix time, object names) into the story's terms (seconds of
act 1, class and variant names). Never judges and never measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy.api.conditions import Reason
from argosy_sim.demo.evidence import Evidence, PlanSeen, ReplicaSeen, ShareSample, StaticPeak
from argosy_sim.demo.story import Story
from argosy_sim.demo.watch import Sightings
from argosy_sim.livefleet.event_log import read_events
from argosy_sim.measures.cost import PriceStep
from argosy_sim.measures.records import read_records


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the run itself knows: where its files are, when act 1 began, what it did to the world."""

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


@dataclass(frozen=True, slots=True)
class _Names:
    """Deployment key -> (variant, class name, pool), from every plan seen."""

    by_deployment: Mapping[str, tuple[str, str, str]]

    @classmethod
    def of(cls, seen: Sightings) -> _Names:
        return cls(
            {
                d["name"]: (d["variant"], d["workloadClass"].split("/")[-1], d["pool"])
                for _, plan in seen.plans
                for d in plan["spec"].get("deployments", ())
            }
        )

    def of_pod(self, pod: str) -> tuple[str, str, str]:
        """Of `namespace/deployment-hash-hash`."""
        return self.by_deployment.get(pod.rsplit("-", 2)[0], ("unknown", "unknown", "unknown"))


def collect(facts: RunFacts, seen: Sightings) -> Evidence:
    """Everything that is known about the run."""
    names = _Names.of(seen)
    with facts.records.open() as lines:
        requests = tuple(read_records(lines))
    return Evidence(
        story=facts.story,
        requests=requests,
        plans=_plans(facts, seen, names),
        replicas=_replicas(facts, seen, names),
        prices=facts.prices,
        shares=_shares(facts, seen, names),
        static_peak=facts.static_peak,
        load_delay_s=facts.load_delay_s,
        trace=facts.trace,
        dead_node=facts.dead_node,
        left_running=facts.left_running,
        memory_bytes=dict(sorted(seen.memory_bytes.items())),
    )


def _plans(facts: RunFacts, seen: Sightings, names: _Names) -> tuple[PlanSeen, ...]:
    first_seen: dict[int, float] = {}
    last: dict[int, dict[str, Any]] = {}
    applied: set[int] = set()
    checked: set[int] = set()
    for at_s, plan in seen.plans:
        revision = plan["spec"]["revision"]
        first_seen.setdefault(revision, at_s)
        last[revision] = plan
        for condition in plan.get("status", {}).get("conditions", ()):
            if condition["type"] == "Applied" and condition["status"] == "True":
                applied.add(revision)
            # Its sentence says that the plan passed the independent check.
            if condition["type"] == "Certified" and condition["reason"] == Reason.NO_SIMULATOR:
                checked.add(revision)
    return tuple(
        _plan(last[r], first_seen[r] - facts.origin_s, names, (r in applied, r in checked))
        for r in sorted(last)
    )


def _plan(plan: dict[str, Any], at_s: float, names: _Names, verdict: tuple[bool, bool]) -> PlanSeen:
    spec = plan["spec"]
    replicas: dict[str, int] = {}
    for deployment in spec.get("deployments", ()):
        if deployment["replicas"]:
            variant = deployment["variant"]
            replicas[variant] = replicas.get(variant, 0) + deployment["replicas"]
    shares = {
        cell["workloadClass"].split("/")[-1]: {
            names.by_deployment[s["deployment"]][0]: s["share"]
            for s in cell.get("shares", ())
            if s["share"] > 0
        }
        for cell in spec.get("cells", ())
    }
    return PlanSeen(
        revision=spec["revision"],
        at_s=at_s,
        trigger=spec["trigger"],
        cost_usd_per_hour=spec["costUsdPerHour"],
        replicas=replicas,
        shares=shares,
        reasons=tuple(r["message"] for r in spec.get("reasons", ())),
        is_applied=verdict[0],
        passed_check=verdict[1],
    )


def _replicas(facts: RunFacts, seen: Sightings, names: _Names) -> tuple[ReplicaSeen, ...]:
    lives: dict[str, dict[str, Any]] = {}
    for event in read_events(facts.events):
        pod = event.get("pod")
        if pod is None or names.of_pod(pod)[0] == "unknown":
            continue
        life = lives.setdefault(pod, {"node": event.get("node", ""), "gpus": event.get("gpus") or 0})
        life["address"] = event.get("address") or life.get("address") or ""
        life["gpus"] = event.get("gpus") or life["gpus"]
        life.setdefault(event["event"], event["at"] - facts.origin_s)
    return tuple(_replica(pod, life, facts, (seen, names)) for pod, life in lives.items() if "bound" in life)


def _replica(
    pod: str, life: dict[str, Any], facts: RunFacts, context: tuple[Sightings, _Names]
) -> ReplicaSeen:
    seen, names = context
    variant, class_name, pool = names.of_pod(pod)

    def since_origin(times: Mapping[str, float]) -> float | None:
        at_s = times.get(life["address"])
        return None if at_s is None else at_s - facts.origin_s

    return ReplicaSeen(
        pod=pod,
        variant=variant,
        class_name=class_name,
        pool=pool,
        node=life["node"],
        address=life["address"],
        gpus=life["gpus"],
        bound_s=life["bound"],
        ready_s=life.get("ready"),
        healthy_s=since_origin(seen.healthy_s),
        unhealthy_s=since_origin(seen.unhealthy_s),
        silent_s=life.get("silent"),
        gone_s=life.get("gone"),
    )


def _shares(facts: RunFacts, seen: Sightings, names: _Names) -> tuple[ShareSample, ...]:
    samples = []
    before: dict[str, int] = {}
    for at_s, counts in seen.requests:
        by_class: dict[str, dict[str, int]] = {}
        for cluster, total in counts.items():
            if cluster in names.by_deployment:
                variant, class_name, _ = names.by_deployment[cluster]
                gained = total - before.get(cluster, 0)
                of_class = by_class.setdefault(class_name, {})
                of_class[variant] = of_class.get(variant, 0) + max(0, gained)
        before = counts
        samples.append(ShareSample(at_s - facts.origin_s, by_class))
    return tuple(samples)
