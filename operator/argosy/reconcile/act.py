"""Acting on a decision, and saying what was decided: the only module that writes to the cluster.

Owns the calls for plan revisions, steps, statuses and events. Never decides: it carries out a
`Decision` in order and stops at the first refusal that asks for a new look at the world.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from argosy.api import API_VERSION, FleetPlan
from argosy.api.conditions import Condition, ConditionStatus, ConditionType, Reason, set_condition
from argosy.control.decision import Decision, EventRecord, StatusUpdate
from argosy.control.status import rfc3339
from argosy.errors import ActuationError, NextStep
from argosy.kube.api import (
    DEPLOYMENTS,
    EVENTS,
    FLEETPLANS,
    FLEETS,
    GPUPOOLS,
    PODS,
    ROUTERPOLICIES,
    SERVEDMODELS,
    WORKLOADCLASSES,
    Api,
)
from argosy.kube.store import Store
from argosy.manifests import deployment_manifest
from argosy.rollout import CreateDeployment, DeleteDeployment, MarkVictim, PlacePod, ScaleDeployment, Step
from argosy.snapshot.cluster import PLACEMENT_GATE
from argosy.snapshot.fleet import is_true
from argosy.snapshot.kubernetes import DELETION_COST, HOSTNAME

log = logging.getLogger(__name__)

_STATUS_RESOURCES = {
    r.plural: r for r in (FLEETS, GPUPOOLS, SERVEDMODELS, WORKLOADCLASSES, ROUTERPOLICIES, FLEETPLANS)
}
_EVENT_RESOURCES = {"Fleet": FLEETS, "ServedModel": SERVEDMODELS, "WorkloadClass": WORKLOADCLASSES}


class Actor:
    """Carries out decisions. `may_act` is asked again before every write to the cluster."""

    def __init__(self, api: Api, store: Store, may_act: Callable[[], bool]) -> None:
        self._api, self._store, self._may_act = api, store, may_act

    async def publish(self, decision: Decision, plans: tuple[FleetPlan, ...], now_s: float) -> None:
        """Write the new revision, if there is one."""
        if decision.new_plan is not None:
            await self._publish(decision.new_plan, decision.mode, plans, now_s)

    async def take(self, steps: Iterable[Step]) -> None:
        """Take steps in their order, up to the first that is refused."""
        for step in steps:
            await self._take(step)

    async def report(self, decision: Decision) -> None:
        """Write statuses that changed, and events."""
        for update in decision.statuses:
            await self._write_status(update)
        await self.post(decision.events)

    async def post(self, events: Iterable[EventRecord]) -> None:
        """Post events; one that is refused is only logged."""
        for event in events:
            await self._post(event)

    async def place(self, pod: str, node: str) -> None:
        """Give a gated pod its node and lift the gate, in one patch."""
        self._ensure_leader()
        item = self._store.of("pods").get(pod)
        if item is None:
            return
        labels = (self._store.of("nodes").get(node) or {"metadata": {}})["metadata"].get("labels") or {}
        gates = [g for g in item["spec"].get("schedulingGates") or [] if g.get("name") != PLACEMENT_GATE]
        body = {
            "spec": {
                "nodeSelector": {
                    **(item["spec"].get("nodeSelector") or {}),
                    # Some clouds label a node otherwise than they name it.
                    HOSTNAME: labels.get(HOSTNAME, node),
                },
                "schedulingGates": gates or None,
            }
        }
        self._store.put("pods", await self._api.patch(PODS, pod, body))

    async def write_weights(self, plan: FleetPlan, weights: Mapping[str, Mapping[str, float]]) -> None:
        """Publish the fast loop's weights where every replica of the operator reads them."""
        self._ensure_leader()
        rows = [
            {
                "cell": cell,
                "weights": [{"deployment": d, "weight": round(w, 4)} for d, w in sorted(shares.items())],
            }
            for cell, shares in sorted(weights.items())
        ]
        answer = await self._api.patch(FLEETPLANS, plan.key, {"status": {"weights": rows}}, sub="status")
        self._store.put("fleetplans", answer)

    async def collect(self, plans: tuple[FleetPlan, ...], limit: int) -> None:
        """Delete revisions beyond `limit`; the applied one and the one before it always stay."""
        applied = [p for p in plans if is_true(p, "Applied")]
        kept = {p.key for p in plans[-limit:]} | {p.key for p in applied}
        kept |= {p.key for p in _before(plans, applied)}
        for plan in plans:
            if plan.key not in kept:
                self._ensure_leader()
                await self._api.delete(FLEETPLANS, plan.key)

    def _ensure_leader(self) -> None:
        if not self._may_act():
            raise ActuationError("this process no longer leads", NextStep.REPLAN)

    async def _publish(self, plan: FleetPlan, mode: str, plans: tuple[FleetPlan, ...], now_s: float) -> None:
        self._ensure_leader()
        body = plan.to_object()
        body.pop("status", None)
        body |= {"apiVersion": API_VERSION, "kind": FleetPlan.KIND, "metadata": {"name": plan.metadata.name}}
        created = await self._api.create(FLEETPLANS, body)
        self._store.put("fleetplans", created)
        verdict = (
            (ConditionStatus.TRUE, Reason.APPLIED, "Applied")
            if mode == "Auto"
            else (ConditionStatus.FALSE, Reason.RECOMMENDED, "Recommended")
        )
        certified = _condition(ConditionType.CERTIFIED, ConditionStatus.UNKNOWN, Reason.NO_SIMULATOR)
        applied = _condition(ConditionType.APPLIED, verdict[0], verdict[1])
        await self._set_plan_status(plan, (certified, applied), verdict[2], now_s)
        if mode == "Auto":
            for older in plans:
                if is_true(older, "Applied"):
                    superseded = _condition(
                        ConditionType.APPLIED,
                        ConditionStatus.FALSE,
                        Reason.SUPERSEDED,
                        revision=plan.spec.revision,
                    )
                    await self._set_plan_status(older, (superseded,), "Superseded", now_s)

    async def _set_plan_status(
        self, plan: FleetPlan, conditions: tuple[Condition, ...], phase: str, now_s: float
    ) -> None:
        merged = plan.status.conditions
        for condition in conditions:
            merged = set_condition(merged, condition, rfc3339(now_s))
        rows = [c.model_dump(by_alias=True, mode="json", exclude_none=True) for c in merged]
        body = {"status": {"phase": phase, "conditions": rows}}
        self._store.put("fleetplans", await self._api.patch(FLEETPLANS, plan.key, body, sub="status"))

    async def _take(self, step: Step) -> None:
        self._ensure_leader()
        log.info("step: %s", describe(step))
        match step:
            case CreateDeployment(workload, replicas):
                body = deployment_manifest(workload, replicas)
                self._store.put("deployments", await self._api.apply(DEPLOYMENTS, workload.key, body))
            case ScaleDeployment(key, replicas):
                await self._api.patch(DEPLOYMENTS, key, {"spec": {"replicas": replicas}}, sub="scale")
            case MarkVictim(pod, cost):
                annotation = {DELETION_COST: str(cost) if cost else None}
                await self._api.patch(PODS, pod, {"metadata": {"annotations": annotation}})
            case PlacePod(pod, node):
                await self.place(pod, node)
            case DeleteDeployment(key):
                await self._api.delete(DEPLOYMENTS, key)

    async def _write_status(self, update: StatusUpdate) -> None:
        resource = _STATUS_RESOURCES[update.kind]
        current = self._store.of(update.kind).get(update.key)
        if current is None or not _changes(current.get("status") or {}, update.status):
            return
        self._ensure_leader()
        try:
            answer = await self._api.patch(
                resource, update.key, {"status": dict(update.status)}, sub="status"
            )
        except ActuationError as error:
            if error.next_step is NextStep.REPLAN:
                return  # it was deleted meanwhile
            raise
        self._store.put(update.kind, answer)

    async def _post(self, event: EventRecord) -> None:
        resource = _EVENT_RESOURCES[event.kind]
        item = self._store.of(resource.plural).get(event.key)
        if item is None:
            return
        self._ensure_leader()
        try:
            await self._api.create(EVENTS, _event_object(event, item))
        except ActuationError as error:
            # An event is a courtesy: what it says stands in a status or a plan too.
            log.warning("event %s was not posted: %s", event.reason, error)


def describe(step: Step) -> str:
    """A step in a few words."""
    match step:
        case CreateDeployment(workload, replicas):
            return f"create Deployment {workload.key} with {replicas} replicas"
        case ScaleDeployment(key, replicas):
            return f"scale Deployment {key} to {replicas}"
        case MarkVictim(pod, cost):
            return f"{'mark' if cost else 'unmark'} pod {pod} as the first to go"
        case PlacePod(pod, node):
            return f"place pod {pod} on node {node}"
        case DeleteDeployment(key):
            return f"delete the empty Deployment {key}"


def _before(plans: tuple[FleetPlan, ...], applied: list[FleetPlan]) -> list[FleetPlan]:
    """The roll-back target: the newest plan that was applied before the one that is."""
    if not applied:
        return []
    was_applied = [
        p
        for p in plans
        if p.spec.revision < applied[-1].spec.revision
        and any(c.type == "Applied" and c.reason == Reason.SUPERSEDED for c in p.status.conditions)
    ]
    return was_applied[-1:]


def _condition(kind: ConditionType, status: ConditionStatus, reason: Reason, **parts: object) -> Condition:
    return Condition(type=kind.value, status=status, reason=reason.value, message=reason.sentence(**parts))


def _changes(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return any(current.get(field) != value for field, value in wanted.items())


def _event_object(event: EventRecord, about: Mapping[str, Any]) -> dict[str, Any]:
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "eventTime": _micro_time(),
        "type": event.type,
        "reason": event.reason,
        "action": "Plan",
        "note": event.message[:1024],
        "reportingController": "argosy.dev/operator",
        "reportingInstance": "argosy-operator",
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": event.kind,
            "name": metadata["name"],
            "namespace": metadata.get("namespace"),
            "uid": metadata.get("uid"),
        },
    }


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
