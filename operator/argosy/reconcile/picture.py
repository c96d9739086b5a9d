"""From the store to the snapshot that decisions look at.

Owns the assembly of a `FleetSnapshot` and of the compiler's `RouteInputs`. Never calls the API
server and never decides. An object that cannot be read is left out and reported: everything else
keeps running.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from argosy.api import Fleet, FleetPlan, GPUPool, InvalidObject, RouterPolicy, ServedModel, WorkloadClass
from argosy.api import Resource as ApiObject
from argosy.control.owners import class_by_deployment
from argosy.control.profiles import files_named
from argosy.kube.store import Store
from argosy.reconcile.profile_files import ProfileFilesView
from argosy.route.compile import RouteInputs
from argosy.route.table import Endpoint, EndpointState, Gateway
from argosy.snapshot import TelemetryReading
from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY, PodState
from argosy.snapshot.fleet import FleetSnapshot, ProfileFileKey, RoutingView, applied_plan
from argosy.snapshot.kubernetes import HOSTNAME, deployment_state, node_state, pod_state

K = TypeVar("K", bound=ApiObject)
S = TypeVar("S")

SPEC_KINDS = ("fleets", "gpupools", "servedmodels", "workloadclasses", "routerpolicies")


@dataclass(frozen=True, slots=True)
class Measured:
    """What comes from elsewhere than the watches."""

    telemetry: TelemetryReading
    routing: RoutingView
    profiles: ProfileFilesView = field(default_factory=ProfileFilesView)


class Picture:
    """Reads the store; each version of an object is parsed once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parsed: dict[str, dict[str, tuple[str, Any]]] = {}

    def snapshot(self, measured: Measured, now_s: float) -> FleetSnapshot:
        """The world as the store has it now."""
        fleets = self._objects("fleets", Fleet)
        return FleetSnapshot(
            now_s=now_s,
            fleet=fleets.get("default"),
            pools=self._objects("gpupools", GPUPool),
            models=self._objects("servedmodels", ServedModel),
            classes=self._objects("workloadclasses", WorkloadClass),
            policies=self._objects("routerpolicies", RouterPolicy),
            plans=self.plans(),
            nodes={n.name: n for n in self._states("nodes", node_state).values()},
            pods=self.pods(),
            deployments={
                key: state
                for key, state in self._states("deployments", deployment_state).items()
                if self._is_ours(key)
            },
            telemetry=measured.telemetry,
            routing=measured.routing,
            profile_files=measured.profiles.files,
            unread_profiles=measured.profiles.unread,
        )

    def profile_files_named(self) -> frozenset[ProfileFileKey]:
        """The files that the ServedModels name as their profiles."""
        models = self._objects("servedmodels", ServedModel).values()
        return frozenset(file for model in models for file in files_named(model))

    def plans(self) -> tuple[FleetPlan, ...]:
        """All FleetPlans, by revision."""
        plans = self._objects("fleetplans", FleetPlan).values()
        return tuple(sorted(plans, key=lambda p: p.spec.revision))

    def pods(self) -> dict[str, PodState]:
        """All pods by key. What a gated pod was given is a node's hostname label: here it is the node."""
        nodes = self._states("nodes", node_state).values()
        by_hostname = {n.labels.get(HOSTNAME, n.name): n.name for n in nodes}
        return {
            key: replace(pod, assigned_node=by_hostname.get(pod.assigned_node, pod.assigned_node))
            if pod.assigned_node
            else pod
            for key, pod in self._states("pods", pod_state).items()
        }

    def fleet(self) -> Fleet:
        """Fleet/default, or one with every default."""
        return self._objects("fleets", Fleet).get("default") or Fleet()

    def route_inputs(self) -> RouteInputs:
        """What the route compiler looks at: a pure function of the API server's objects."""
        plan = applied_plan(self.plans())
        fleet = self.fleet()
        pods = [p for p in self.pods().values() if p.deployment]
        classes = self._objects("workloadclasses", WorkloadClass)
        weights = plan.status.weights if plan else ()
        return RouteInputs(
            gateway=Gateway(fleet.spec.gateway.address, fleet.spec.gateway.port),
            plan=plan,
            classes=tuple(classes.values()),
            policies=tuple(self._objects("routerpolicies", RouterPolicy).values()),
            models=tuple(self._objects("servedmodels", ServedModel).values()),
            endpoints=_endpoints(pods),
            weights={w.cell: {d.deployment: d.weight for d in w.weights} for w in weights},
            groups=class_by_deployment(pods, classes),
        )

    def invalid(self) -> tuple[InvalidObject, ...]:
        """Objects that the API server holds but that cannot be used."""
        kinds: Mapping[str, type[ApiObject]] = {
            "fleets": Fleet,
            "gpupools": GPUPool,
            "servedmodels": ServedModel,
            "workloadclasses": WorkloadClass,
            "routerpolicies": RouterPolicy,
        }
        parsed = [
            p for plural, kind in kinds.items() for p in self._states(plural, kind.from_object).values()
        ]
        return tuple(p for p in parsed if isinstance(p, InvalidObject))

    def spec_fingerprint(self) -> tuple[tuple[str, str, Any], ...]:
        """Changes whenever a user changes a spec: what `recheck` compares."""
        return tuple(
            (kind, item["metadata"].get("uid", key), item["metadata"].get("generation"))
            for kind in SPEC_KINDS
            for key, item in sorted(self._store.of(kind).items())
        )

    def _objects(self, plural: str, kind: type[K]) -> dict[str, K]:
        parsed = self._states(plural, kind.from_object)
        return {key: value for key, value in parsed.items() if isinstance(value, kind)}

    def _states(self, plural: str, read: Callable[[Mapping[str, Any]], S]) -> dict[str, S]:
        """Every object of a kind, read; what is gone from the store is forgotten here too."""
        known = self._parsed.get(plural, {})
        found: dict[str, tuple[str, S]] = {}
        for key, item in sorted(self._store.of(plural).items()):
            version = f"{item['metadata'].get('uid')}/{item['metadata'].get('resourceVersion')}"
            before = known.get(key)
            found[key] = before if before and before[0] == version else (version, read(item))
        self._parsed[plural] = found
        return {key: value for key, (_, value) in found.items()}

    def _is_ours(self, deployment: str) -> bool:
        labels = self._store.of("deployments")[deployment]["metadata"].get("labels") or {}
        return bool(labels.get(LABEL_MANAGED_BY) == MANAGED_BY)


def _endpoints(pods: list[PodState]) -> dict[str, tuple[Endpoint, ...]]:
    """Ready engines take requests; those on their way out finish what they have."""
    endpoints: dict[str, list[Endpoint]] = {}
    for pod in pods:
        if not pod.address or not pod.ready:
            continue
        state = EndpointState.DRAINING if pod.deleting else EndpointState.READY
        endpoints.setdefault(pod.deployment, []).append(Endpoint(pod.ip, pod.port, pod.key, state))
    return {name: tuple(found) for name, found in endpoints.items()}
