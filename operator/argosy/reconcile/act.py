"""Carrying out a decision: every write to the cluster, Leases apart.

Owns the calls for plan revisions, steps, weights, statuses and events. Input: parts of a `Decision`.
Output: objects in the API server; a refusal is an `ActuationError`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from argosy.api import API_VERSION, FleetPlan
from argosy.api.crd.resource import status_body
from argosy.api.kinds import kind_named
from argosy.api.schema.timestamp import rfc3339_micro
from argosy.control.decision import Decision, EventRecord, StatusUpdate
from argosy.control.fast import Weights
from argosy.control.traffic.balance import weights_status
from argosy.errors import ActuationError, NextStep, Obstacle
from argosy.keys import DeploymentKey
from argosy.kube.api import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    EVENTS,
    FLEETPLANS,
    PODS,
    REPLICA_SETS,
    ApiServer,
    path_of,
)
from argosy.kube.store import Store
from argosy.manifests import deployment_manifest, disruption_budget_manifest
from argosy.reconcile.clock import Clock
from argosy.reconcile.reporting.troubles import Troubles
from argosy.rollout import (
    AdoptReplicaSet,
    CreateDeployment,
    DeleteDeployment,
    DeletePod,
    DeleteReplicaSet,
    EndProtection,
    MarkVictim,
    PlacePod,
    ProtectReplicas,
    RestoreDeployment,
    ScaleDeployment,
    Step,
    describe,
)
from argosy.snapshot.cluster import DELETION_COST, HOSTNAME, PLACEMENT_GATE

log = logging.getLogger(__name__)


EVENTS_ACTIVITY = "events"
STATUS = "status of "
"""The troubles of statuses are named by it and the object."""


class Actor:
    """Carries out decisions. `may_act` is called before every write to the cluster."""

    def __init__(
        self, api: ApiServer, store: Store, clock: Clock, troubles: Troubles, may_act: Callable[[], bool]
    ) -> None:
        self._api, self._store, self._clock, self._may_act = api, store, clock, may_act
        self._troubles = troubles

    async def publish(self, decision: Decision) -> None:
        """Write the new revision, if there is one, and the statuses of all revisions that change."""
        if decision.new_plan is not None:
            await self._create_plan(decision.new_plan)
        for update in decision.life.statuses:
            await self._write_status(update)

    async def take(self, step: Step) -> None:
        """Take one step."""
        self._ensure_leader()
        log.debug("step: %s", describe(step))
        match step:
            case CreateDeployment(workload, replicas):
                body = deployment_manifest(workload, replicas)
                self._store.put("deployments", await self._api.apply(DEPLOYMENTS, workload.key, body))
                await self._protect(workload.key, replicas)
            case ScaleDeployment(key, replicas):
                await self._scale(key, replicas)
            case RestoreDeployment(workload, replicas, removal):
                if removal:
                    await self._api.merge(DEPLOYMENTS, workload.key, removal)
                body = deployment_manifest(workload, replicas)
                self._store.put("deployments", await self._api.apply(DEPLOYMENTS, workload.key, body))
            case MarkVictim(pod, cost):
                annotation = {DELETION_COST: str(cost) if cost else None}
                await self._api.patch(PODS, pod, {"metadata": {"annotations": annotation}})
            case PlacePod(pod, node):
                await self._place(pod, node)
            case DeleteDeployment(key):
                await self._api.delete(DEPLOYMENTS, key)
                await self._api.delete(DISRUPTION_BUDGETS, key)
            case DeletePod(pod):
                await self._api.delete(PODS, pod)
            case AdoptReplicaSet() | DeleteReplicaSet():
                await self._settle(step)
            case ProtectReplicas(key, replicas):
                await self._protect(key, replicas)
            case EndProtection(key):
                await self._api.delete(DISRUPTION_BUDGETS, key)

    async def _settle(self, step: AdoptReplicaSet | DeleteReplicaSet) -> None:
        """Let a Deployment own its ReplicaSet again, or end one that has none."""
        if isinstance(step, DeleteReplicaSet):
            await self._api.delete(REPLICA_SETS, step.key)
            return
        body = {"metadata": {"labels": dict(step.labels)}}
        self._store.put("replicasets", await self._api.patch(REPLICA_SETS, step.key, body))

    async def report(self, decision: Decision) -> None:
        """Write statuses that changed, and events; an object that refuses its status stops no other."""
        refused = set[str]()
        for update in decision.statuses:
            try:
                await self._write_status(update)
            except ActuationError as error:
                if error.next_step is not NextStep.GIVE_UP:
                    raise
                activity = f"{STATUS}{update.kind} {update.key}"
                refused.add(activity)
                self._troubles.failed(activity, f"it was not written: {error}", level=logging.ERROR)
        self._troubles.keep_only(STATUS, frozenset(refused))
        # An event about a status that was not written would be posted with every decision.
        written = (
            e for e in decision.events if f"{STATUS}{kind_named(e.kind).plural} {e.key}" not in refused
        )
        await self.post(written)

    async def post(self, events: Iterable[EventRecord]) -> None:
        """Post events; one that is refused is only logged."""
        for event in events:
            await self._post(event)

    async def write_weights(self, plan: FleetPlan, weights: Weights) -> None:
        """Write the traffic loop's weights to the plan's status: every replica of the operator reads it."""
        self._ensure_leader()
        body = {"status": status_body(weights_status(weights))}
        answer = await self._api.patch(FLEETPLANS, plan.key, body, sub="status")
        self._store.put("fleetplans", answer)

    async def delete_plans(self, names: Iterable[str]) -> None:
        """Delete revisions that are too old to keep."""
        for name in names:
            self._ensure_leader()
            await self._api.delete(FLEETPLANS, name)

    def _ensure_leader(self) -> None:
        if not self._may_act():
            raise ActuationError("this process no longer leads", NextStep.REPLAN)

    async def _protect(self, key: DeploymentKey, replicas: int) -> None:
        """Let evictions leave at least so many replicas of the Deployment ready."""
        budget = disruption_budget_manifest(key, replicas)
        self._store.put("poddisruptionbudgets", await self._api.apply(DISRUPTION_BUDGETS, key, budget))

    async def _scale(self, key: DeploymentKey, replicas: int) -> None:
        """Set the count; the store has it at once, because the next step is checked against it."""
        answer = await self._api.patch(DEPLOYMENTS, key, {"spec": {"replicas": replicas}}, sub="scale")
        item = self._store.of("deployments").get(key)
        if item is not None:
            metadata = {**item["metadata"], "resourceVersion": answer["metadata"]["resourceVersion"]}
            spec = {**item["spec"], "replicas": replicas}
            self._store.put("deployments", {**item, "metadata": metadata, "spec": spec})

    async def _place(self, pod: str, node: str) -> None:
        """Give a gated pod its node and remove the gate, in one patch."""
        item = self._store.of("pods").get(pod)
        if item is None:
            return
        labels = (self._store.of("nodes").get(node) or {"metadata": {}})["metadata"].get("labels") or {}
        gates = [g for g in item["spec"].get("schedulingGates") or [] if g.get("name") != PLACEMENT_GATE]
        body = {
            "spec": {
                "nodeSelector": {
                    **(item["spec"].get("nodeSelector") or {}),
                    # Some clouds give a node a hostname label that differs from its name.
                    HOSTNAME: labels.get(HOSTNAME, node),
                },
                "schedulingGates": gates or None,
            }
        }
        self._store.put("pods", await self._api.patch(PODS, pod, body))

    async def _create_plan(self, plan: FleetPlan) -> None:
        self._ensure_leader()
        body = plan.to_object()
        body.pop("status", None)
        body |= {"apiVersion": API_VERSION, "kind": FleetPlan.KIND, "metadata": {"name": plan.metadata.name}}
        try:
            self._store.put("fleetplans", await self._api.create(FLEETPLANS, body))
        except ActuationError:
            await self._note_namesake(plan.key)
            raise

    async def _note_namesake(self, name: str) -> None:
        """Keep a plan of that name that no watch has reported yet: else its number is chosen again."""
        with suppress(ActuationError):
            found = await self._api.find(FLEETPLANS, name)
            if found is not None:
                self._store.put("fleetplans", found)

    async def _write_status(self, update: StatusUpdate) -> None:
        wanted = status_body(update.status)
        current = self._store.of(update.kind).get(update.key)
        if current is None or not _changes(current.get("status") or {}, wanted):
            return
        self._ensure_leader()
        try:
            answer = await self._api.patch(path_of(update.kind), update.key, {"status": wanted}, sub="status")
        except ActuationError as error:
            if error.next_step is NextStep.REPLAN:
                return  # the object was deleted meanwhile
            raise
        self._store.put(update.kind, answer)

    async def _post(self, event: EventRecord) -> None:
        item = self._store.of(kind_named(event.kind).plural).get(event.key)
        if item is None:
            return
        self._ensure_leader()
        try:
            await self._api.create(EVENTS, _event_object(event, item, self._clock.now_s()))
        except ActuationError as error:
            if error.obstacle is Obstacle.NAMESPACE_MISSING:
                log.debug("an event was not posted: %s", error)
                return  # the object is about to go, and nothing can be done for its events
            # An event may be lost: a status or a FleetPlan holds the same information.
            self._troubles.failed(EVENTS_ACTIVITY, f"one was not posted: {error}", is_readiness=False)
        else:
            self._troubles.succeeded(EVENTS_ACTIVITY)


def _changes(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return any(current.get(field) != value for field, value in wanted.items())


def _event_object(event: EventRecord, about: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "eventTime": rfc3339_micro(now_s),
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
