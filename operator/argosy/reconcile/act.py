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

from argosy.api import API_VERSION, Fleet, FleetPlan
from argosy.api.crd.resource import status_body
from argosy.api.kinds import kind_named
from argosy.api.schema.timestamp import rfc3339
from argosy.control.decision import Decision, EventRecord, StatusUpdate
from argosy.control.fast import Weights
from argosy.control.status.fleet import with_refused
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
from argosy.manifests.shared_count import without_count
from argosy.manifests.victim import victim_annotations
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
    ReleasePod,
    RestoreDeployment,
    ScaleDeployment,
    Step,
    describe,
)
from argosy.snapshot.adapters.record import ANNOTATION_ADAPTERS, AdapterRecord, record_text
from argosy.snapshot.cluster import HOSTNAME, PLACEMENT_GATE

log = logging.getLogger(__name__)


EVENTS_ACTIVITY = "events"
STATUS = "status of "
"""The troubles of statuses are named by it and the object, or the kind."""
OLD_PLANS = "old FleetPlans"
_OF_A_KIND = (Obstacle.FORBIDDEN, Obstacle.KIND_MISSING)
"""What concerns all objects of a kind."""


class Actor:
    """Carries out decisions. `may_act` is called before every write to the cluster."""

    def __init__(
        self, api: ApiServer, store: Store, clock: Clock, troubles: Troubles, may_act: Callable[[], bool]
    ) -> None:
        self._api, self._store, self._clock, self._may_act = api, store, clock, may_act
        self._troubles = troubles
        self._has_lost_event = False
        """The last event was not posted, and no permission is missing for that."""

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
            case RestoreDeployment():
                await self._restore(step)
            case MarkVictim(pod, cost):
                await self._mark(pod, cost)
            case PlacePod(pod, node):
                await self._place(pod, node)
            case ReleasePod(pod):
                await self._release(pod)
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

    async def _restore(self, step: RestoreDeployment) -> None:
        key = step.workload.key
        live = self._store.of("deployments").get(key)
        if step.removal:
            live = await self._api.merge(DEPLOYMENTS, key, step.removal)
        body = deployment_manifest(step.workload, step.replicas or 0)
        if step.replicas is None:
            if live is None:
                return  # it is gone
            body = without_count(body, live)
        self._store.put("deployments", await self._api.apply(DEPLOYMENTS, key, body))

    async def _settle(self, step: AdoptReplicaSet | DeleteReplicaSet) -> None:
        """Let a Deployment own its ReplicaSet again, or end one that has none."""
        if isinstance(step, DeleteReplicaSet):
            await self._api.delete(REPLICA_SETS, step.key)
            return
        body = {"metadata": {"labels": dict(step.labels)}}
        self._store.put("replicasets", await self._api.patch(REPLICA_SETS, step.key, body))

    async def report(self, decision: Decision) -> None:
        """Write statuses that changed, and events; a status that is refused stops no other.

        Raises ActuationError where one was refused that may be accepted when tried again.
        """
        refused, kinds, again = set[str](), dict[str, str](), list[ActuationError]()
        for update in sorted(decision.statuses, key=lambda each: each.kind == Fleet.PLURAL):
            if update.kind in kinds:
                continue
            try:
                await self._write_status(with_refused(update, kinds))
            except ActuationError as error:
                refused.add(_refused_status(update, error))
                if error.obstacle in _OF_A_KIND:
                    kinds[update.kind] = str(error)
                elif error.next_step is NextStep.RETRY:
                    again.append(error)
                    continue
                self._report_refused(_refused_status(update, error), error)
        self._troubles.keep_only(STATUS, frozenset(refused))
        # An event about a status that was not written would be posted with every decision.
        await self.post(e for e in decision.events if not refused & _statuses_of(e))
        if again:
            raise again[0]

    def _report_refused(self, activity: str, error: ActuationError) -> None:
        self._troubles.failed(activity, f"it was not written: {error}", level=logging.ERROR)

    async def post(self, events: Iterable[EventRecord]) -> None:
        """Post events; one that is refused is only logged."""
        every = tuple(events)
        if not every and self._has_lost_event:
            self._has_lost_event = False
            self._troubles.forget((EVENTS_ACTIVITY,))  # the next one may be days away
        for event in every:
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
            try:
                await self._api.delete(FLEETPLANS, name)
            except ActuationError as error:
                if error.obstacle not in _OF_A_KIND:
                    raise
                said = f"they are not deleted: {error}"
                return self._troubles.failed(OLD_PLANS, said, is_readiness=False)
        self._troubles.succeeded(OLD_PLANS)

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

    async def _mark(self, pod: str, cost: int) -> None:
        """Choose a pod to go, or let it stay after all (`cost` is 0)."""
        item = self._store.of("pods").get(pod)
        if item is not None:
            annotations = victim_annotations(item, cost)
            await self._api.patch(PODS, pod, {"metadata": {"annotations": annotations}})

    async def note_adapters(self, pod: str, uid: str, record: AdapterRecord) -> bool:
        """Write what the engine of a pod holds of LoRA adapters; returns whether that has changed.

        Raises ActuationError where the pod is gone, or where this process no longer leads.
        """
        self._ensure_leader()
        item = self._store.of("pods").get(pod)
        text = record_text(record)
        if item is None or item["metadata"].get("uid", "") != uid:
            raise ActuationError(f"pod {pod} is gone", NextStep.REPLAN)
        if (item["metadata"].get("annotations") or {}).get(ANNOTATION_ADAPTERS) == text:
            return False
        body = {"metadata": {"annotations": {ANNOTATION_ADAPTERS: text}}}
        self._store.put("pods", await self._api.patch(PODS, pod, body))
        return True

    async def _place(self, pod: str, node: str) -> None:
        """Give a gated pod its node and remove Argosy's gate, in one patch."""
        item = self._store.of("pods").get(pod)
        if item is None:
            return
        labels = (self._store.of("nodes").get(node) or {"metadata": {}})["metadata"].get("labels") or {}
        body = {
            "spec": {
                # Some clouds give a node a hostname label that differs from its name.
                "nodeSelector": {HOSTNAME: labels.get(HOSTNAME, node)},
                # By its name: another client may remove its own gate, or add a selector, in the same moment.
                "schedulingGates": [{"$patch": "delete", "name": PLACEMENT_GATE}],
            }
        }
        self._store.put("pods", await self._api.merge(PODS, pod, body))

    async def _release(self, pod: str) -> None:
        """Remove Argosy's gate of a pod, which keeps the node selector of its pool."""
        if self._store.of("pods").get(pod) is not None:
            body = {"spec": {"schedulingGates": [{"$patch": "delete", "name": PLACEMENT_GATE}]}}
            self._store.put("pods", await self._api.merge(PODS, pod, body))

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
            self._has_lost_event = error.obstacle is None
            self._troubles.failed(EVENTS_ACTIVITY, f"one was not posted: {error}", is_readiness=False)
        else:
            self._troubles.succeeded(EVENTS_ACTIVITY)


def _refused_status(update: StatusUpdate, error: ActuationError) -> str:
    """What the trouble is named by: the kind, where no status of it can be written, or the object.

    Raises `error` where the API server does not answer, or where nothing of the decision is valid any more.
    """
    if error.obstacle in _OF_A_KIND:
        return f"{STATUS}{update.kind}"
    is_answer = error.next_step is NextStep.GIVE_UP or error.status
    if not is_answer or error.next_step is NextStep.REPLAN:
        raise error
    return f"{STATUS}{update.kind} {update.key}"


def _statuses_of(event: EventRecord) -> set[str]:
    """Troubles in which an event's object has no current status."""
    plural = kind_named(event.kind).plural
    return {f"{STATUS}{plural}", f"{STATUS}{plural} {event.key}"}


def _changes(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return any(current.get(field) != value for field, value in wanted.items())


def _event_object(event: EventRecord, about: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    """An event of the core group: kubectl describe sorts by lastTimestamp, which others may not set."""
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "firstTimestamp": rfc3339(now_s),
        "lastTimestamp": rfc3339(now_s),
        "count": 1,
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:1024],
        "source": {"component": "argosy"},
        "reportingComponent": "argosy.dev/operator",
        "reportingInstance": "argosy-operator",
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": event.kind,
            "name": metadata["name"],
            "namespace": metadata.get("namespace"),
            "uid": metadata.get("uid"),
        },
    }
