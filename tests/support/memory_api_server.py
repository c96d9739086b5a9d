"""An API server in memory, and the Kubernetes behind it, for tests in virtual time.

Fakes of the far side only. `MemoryApiServer` keeps objects as a real one does: versions, generations,
merge patches, subresources; it reports every change to its watchers and refuses what a test makes it
refuse. `MemoryCluster` is the Deployment controller, the scheduler and the kubelets.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from argosy.api.crd.resource import GROUP
from argosy.api.kinds import CUSTOM
from argosy.api.schema.timestamp import rfc3339
from argosy.errors import ActuationError, NextStep, Obstacle
from argosy.kube.api import ApiServer, KindPath
from argosy.kube.store import object_key
from argosy.reconcile.clock import Clock
from argosy.snapshot.cluster import HOSTNAME, LABEL_DEPLOYMENT, LABEL_TEMPLATE_HASH, MANAGED_BY

Object = dict[str, Any]

LOAD_S = 20.0

INSTALLED = "2023-01-01T00:00:00Z"
"""When the custom resources were installed."""
MADE = "2023-06-01T00:00:00Z"
"""When objects were made that do not say it themselves: before any test begins."""


@dataclass(frozen=True)
class Call:
    """One request. `verb`: list, watch, find, create, apply, patch or delete; `sub`: or empty."""

    verb: str
    plural: str
    key: str = ""
    sub: str = ""


@dataclass
class MemoryApiServer(ApiServer):
    """Objects by plural and key.

    watchers: called with type, plural and object after each change, as a watch reports it
    refusal:  what to answer a request with instead; None: the request is carried out
    obstacle: what a refusal says that an administrator has to remedy
    status:   the HTTP status of a refusal
    calls:    the requests that were carried out
    forbidden: plurals that the operator's role does not allow
    silent:   plurals of which no change reaches the watchers any more: their watch is lost
    """

    objects: dict[str, dict[str, Object]] = field(default_factory=dict)
    watchers: list[Callable[[str, str, Object], None]] = field(default_factory=list)
    refusal: Callable[[Call], NextStep | None] = lambda call: None
    obstacle: Obstacle | None = None
    status: int = 0
    calls: list[Call] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._versions = itertools.count(1)
        self.install(INSTALLED)

    def install(self, created: str, *plurals: str) -> None:
        """`kubectl apply -f crds/`, of these kinds or all."""
        for plural in plurals or CUSTOM:
            metadata = {"name": f"{plural}.{GROUP}", "creationTimestamp": created}
            self.of("customresourcedefinitions")[f"{plural}.{GROUP}"] = {"metadata": metadata}

    def uninstall(self, *plurals: str) -> None:
        """`kubectl delete -f crds/`: the objects go first, while the definition is being deleted."""
        for plural in plurals or CUSTOM:
            definition = self.of("customresourcedefinitions")[f"{plural}.{GROUP}"]
            definition["metadata"]["deletionTimestamp"] = INSTALLED
            for key in list(self.of(plural)):
                self.drop(plural, key)
            del self.of("customresourcedefinitions")[f"{plural}.{GROUP}"]

    def backup(self) -> tuple[dict[str, dict[str, Object]], int]:
        """`etcdctl snapshot save`."""
        return copy.deepcopy(self.objects), next(self._versions)

    def restore(self, backup: tuple[dict[str, dict[str, Object]], int], version: int | None = None) -> None:
        """`etcdctl snapshot restore` and a start: no watch reports anything of it.

        version: the resource version that the writes of the start have reached; None: there were none
        """
        objects, saved = backup
        self.objects = copy.deepcopy(objects)
        self._versions = itertools.count(version or saved + 1)

    def of(self, plural: str) -> dict[str, Object]:
        return self.objects.setdefault(plural, {})

    # What the operator asks.

    async def list(
        self, kind: KindPath, label_selector: str = "", namespace: str = ""
    ) -> tuple[list[Object], int]:
        self._admit(Call("list", kind.plural))
        label, _, value = label_selector.partition("=")
        found = [
            copy.deepcopy(item)
            for item in self.of(kind.plural).values()
            if (not label or (item["metadata"].get("labels") or {}).get(label) == value)
            and namespace in ("", item["metadata"].get("namespace"))
        ]
        return found, next(self._versions)

    async def watch_briefly(self, kind: KindPath, version: int) -> None:
        self._admit(Call("watch", kind.plural))
        await asyncio.sleep(1.0)

    async def find(self, kind: KindPath, key: str) -> Object | None:
        self._admit(Call("find", kind.plural, key))
        return copy.deepcopy(self.of(kind.plural).get(key))

    async def create(self, kind: KindPath, body: Object) -> Object:
        key = object_key(body)
        self._admit(Call("create", kind.plural, key))
        if key in self.of(kind.plural):
            raise ActuationError(f"{kind.plural} {key} exists", NextStep.REPLAN)
        return self.put(kind.plural, body)

    async def apply(self, kind: KindPath, key: str, body: Object) -> Object:
        self._admit(Call("apply", kind.plural, key))
        known = self.of(kind.plural).get(key, {}).get("metadata", {}).get("resourceVersion")
        if body["metadata"].get("resourceVersion", known) != known:
            raise ActuationError(f"{kind.plural} {key} has changed", NextStep.REPLAN, status=409)
        return self.put(kind.plural, body)

    async def try_create(self, kind: KindPath, body: Object) -> Object:
        self._admit(Call("try", kind.plural, body["metadata"]["name"]))
        return body

    async def patch(self, kind: KindPath, key: str, body: Mapping[str, Any], sub: str = "") -> Object:
        self._admit(Call("patch", kind.plural, key, sub))
        if key not in self.of(kind.plural):
            raise ActuationError(f"{kind.plural} {key} is not there", NextStep.REPLAN)
        if sub == "status":
            assert set(body) == {"status"}
        item = self.put(kind.plural, _merged(self.of(kind.plural)[key], body))
        return {"kind": "Scale", "metadata": item["metadata"], **body} if sub == "scale" else item

    async def merge(self, kind: KindPath, key: str, body: Mapping[str, Any]) -> Object:
        """A strategic merge patch, of which it knows what `_merged` does."""
        return await self.patch(kind, key, body)

    async def delete(self, kind: KindPath, key: str) -> None:
        self._admit(Call("delete", kind.plural, key))
        self.drop(kind.plural, key)

    # What anything else does.

    def put(self, plural: str, item: Mapping[str, Any]) -> Object:
        """Keep an object; what a real one fills in is filled in."""
        kept, key = copy.deepcopy(dict(item)), object_key(item)
        before = self.of(plural).get(key)
        metadata = kept["metadata"] = dict(kept["metadata"])
        metadata.setdefault("creationTimestamp", before["metadata"]["creationTimestamp"] if before else MADE)
        metadata["uid"] = before["metadata"]["uid"] if before else f"uid-{plural}-{next(self._versions)}"
        generation = before["metadata"]["generation"] if before else 0
        is_new = before is None or before.get("spec") != kept.get("spec")
        metadata["generation"] = generation + is_new
        if before is not None and "status" in before:
            kept.setdefault("status", before["status"])
        if before is not None and _unversioned(before) == _unversioned(kept):
            return copy.deepcopy(before)
        metadata["resourceVersion"] = str(next(self._versions))
        self.of(plural)[key] = kept
        self._report("MODIFIED" if before else "ADDED", plural, kept)
        return copy.deepcopy(kept)

    def drop(self, plural: str, key: str) -> None:
        item = self.of(plural).pop(key, None)
        if item is not None:
            item["metadata"]["resourceVersion"] = str(next(self._versions))
            self._report("DELETED", plural, item)

    def count(self, verb: str, plural: str, sub: str = "") -> int:
        return sum((c.verb, c.plural, c.sub) == (verb, plural, sub) for c in self.calls)

    def _admit(self, call: Call) -> None:
        answer = self.refusal(call)
        if answer is not None:
            raise ActuationError(
                f"{call.verb} {call.plural} {call.key}: refused by the test",
                answer,
                self.obstacle,
                self.status,
            )
        if call.plural in self.forbidden:
            raise ActuationError(
                f"{call.verb} {call.plural}: 403 forbidden", NextStep.RETRY, Obstacle.FORBIDDEN, 403
            )
        if call.plural in CUSTOM and f"{call.plural}.{GROUP}" not in self.of("customresourcedefinitions"):
            raise ActuationError(
                f"{call.verb} {call.plural}: 404 not found", NextStep.RETRY, Obstacle.KIND_MISSING, 404
            )
        self.calls.append(call)

    def _report(self, type: str, plural: str, item: Object) -> None:
        for watcher in () if plural in self.silent else self.watchers:
            watcher(type, plural, copy.deepcopy(item))


class MemoryCluster:
    """Makes pods of Deployments, binds them once their gate is gone, and loads their engines."""

    def __init__(self, server: MemoryApiServer, clock: Clock) -> None:
        self._server, self._clock = server, clock
        self._numbers = itertools.count(1)
        server.watchers.append(self._seen)

    def serving(self) -> Counter[str]:
        """Ready pods by Deployment."""
        return Counter(
            pod["metadata"]["labels"][LABEL_DEPLOYMENT]
            for pod in self._server.of("pods").values()
            if pod["status"].get("conditions") and LABEL_DEPLOYMENT in pod["metadata"]["labels"]
        )

    def _seen(self, type: str, plural: str, item: Object) -> None:
        if plural == "deployments":
            asyncio.get_running_loop().call_soon(self._scale, object_key(item))
        elif plural == "pods":
            asyncio.get_running_loop().call_soon(self._scale, _deployment_of(item))
            if type != "DELETED":
                asyncio.get_running_loop().call_soon(self._bind, object_key(item))

    def _scale(self, key: str) -> None:
        deployment = self._server.of("deployments").get(key)
        name = key.partition("/")[2]
        pods = sorted(
            (
                p
                for p in self._server.of("pods").values()
                if p["metadata"]["labels"].get(LABEL_DEPLOYMENT) == name
            ),
            key=_rank,
        )
        wanted = deployment["spec"]["replicas"] if deployment else 0
        for pod in pods[: max(0, len(pods) - wanted)]:
            self._server.drop("pods", object_key(pod))
        for _ in range(wanted - len(pods)):
            assert deployment is not None
            self._create_pod(deployment)

    def _create_pod(self, deployment: Object) -> None:
        template = copy.deepcopy(deployment["spec"]["template"])
        number = next(self._numbers)
        metadata = {
            **template["metadata"],
            "name": f"{deployment['metadata']['name']}-5d4f-{number:04d}",
            "generateName": f"{deployment['metadata']['name']}-5d4f-",
            "labels": {**template["metadata"]["labels"], LABEL_TEMPLATE_HASH: "5d4f"},
            "namespace": deployment["metadata"]["namespace"],
            "creationTimestamp": rfc3339(self._clock.now_s()),
        }
        assert MANAGED_BY in template["metadata"]["labels"].values()
        status = {"phase": "Pending", "podIP": f"10.0.0.{number}"}
        self._server.put("pods", {"metadata": metadata, "spec": template["spec"], "status": status})

    def _bind(self, key: str) -> None:
        pod = self._server.of("pods").get(key)
        if pod is None or pod["spec"].get("schedulingGates") or pod["spec"].get("nodeName"):
            return
        spec = {**pod["spec"], "nodeName": pod["spec"]["nodeSelector"][HOSTNAME]}
        self._server.put("pods", {**pod, "spec": spec})
        asyncio.get_running_loop().call_later(LOAD_S, self._load, key)

    def _load(self, key: str) -> None:
        pod = self._server.of("pods").get(key)
        if pod is not None:
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(self._clock.now_s())}
            status = {**pod["status"], "phase": "Running", "conditions": [ready]}
            self._server.put("pods", {**pod, "status": status})


def _deployment_of(pod: Object) -> str:
    """`namespace/name` of the Deployment that a pod's origin names."""
    metadata = pod["metadata"]
    return f"{metadata['namespace']}/{str(metadata.get('generateName') or '').removesuffix('-5d4f-')}"


def _rank(pod: Object) -> tuple[bool, bool, str]:
    """As the ReplicaSet controller ranks the pods that it may delete: lowest first."""
    return (bool(pod["spec"].get("nodeName")), "conditions" in pod["status"], pod["metadata"]["name"])


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386; of scheduling gates, those that a strategic merge patch deletes are removed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
            if name == "schedulingGates" and isinstance(value, list):  # a strategic merge patch, by name
                gone = {each["name"] for each in value}
                merged[name] = [each for each in target.get(name) or () if each["name"] not in gone]
    return merged


def _unversioned(item: Object) -> Object:
    metadata = {name: value for name, value in item["metadata"].items() if name != "resourceVersion"}
    return {**item, "metadata": metadata}
