"""`spec.engine.podTemplatePatch`: what of a pod template users may patch.

Owns the verdict on a patch, which names the path and what is set instead. The patch is a strategic merge
patch of the finished template (`manifests.strategic_merge` applies it). By it an engine never loses its
container, its gate, its labels, its GPUs, its port or what Argosy starts it with; whatever it holds beside
that is judged by the API server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

GPU_RESOURCES = (
    "nvidia.com/gpu",
    "nvidia.com/mig-",
    "amd.com/gpu",
    "gpu.intel.com/",
    "habana.ai/gaudi",
    "google.com/tpu",
)
"""How names of resources begin that are GPUs: a GPUPool and a parallel shape set them."""

SIZE_LIMIT = 16_384
"""Bytes of a patch as JSON: the largest ConfigMap of sidecars that was seen has a quarter of it."""

_PATH = "spec.engine.podTemplatePatch"
_ENGINE, _PORT_NAME = "engine", "http"
_OWN_PREFIX = "argosy-"
_OWN_LABELS = ("app.kubernetes.io/managed-by", "pod-template-hash")
_OWN_KEYS = ("argosy.dev/", "kubectl.kubernetes.io/")

_OF_SPEC = {
    "schedulingGates": "Argosy's gate holds a pod until it has a node; for another gate use its controller",
    "nodeSelector": "set spec.nodeSelector of the GPUPool",
    "nodeName": "set spec.nodeSelector of the GPUPool; Argosy places the pod",
    "tolerations": "set spec.tolerations of the GPUPool",
    "terminationGracePeriodSeconds": "set spec.engine.drainSeconds",
    "restartPolicy": "a Deployment restarts its pods always",
    "enableServiceLinks": "a Service called vllm would set VLLM_PORT",
    "hostNetwork": "engines are reached at the pod's own address and spec.engine.port",
    "resourceClaims": "GPUs are those of spec.parallelShapes and spec.resourceName of the GPUPool",
    "ephemeralContainers": "add them to a running pod by kubectl debug",
}
"""Fields of the pod that a patch may not hold, each with the remedy."""

_OF_ENGINE = {
    "image": "set spec.engine.image",
    "args": "set the fields of spec.engine, and spec.engine.args for others",
    "command": "use an image whose entry point is vllm serve, and set spec.engine.image",
    "startupProbe": "Argosy and Envoy judge an engine by the same probe",
    "readinessProbe": "Argosy and Envoy judge an engine by the same probe",
    "livenessProbe": "Argosy and Envoy judge an engine by the same probe",
    "restartPolicy": "a Deployment restarts its pods always",
    "restartPolicyRules": "a Deployment restarts its pods always",
}
"""The same for the engine's container."""


def patch_fault(patch: Mapping[str, Any], port: int) -> str | None:
    """What a patch may not do, in a sentence; None where it may do all of it. port: of the engine"""
    size = len(json.dumps(patch).encode())
    if size > SIZE_LIMIT:
        return f"{_PATH}: it has {size} bytes as JSON, and at most {SIZE_LIMIT} are taken; make it shorter"
    return next(_faults(patch, port), None)


def _refused(path: str, why: str, what: str = "must not be patched") -> str:
    return f"{_PATH}.{path}: it {what}; {why}"


def _faults(patch: Mapping[str, Any], port: int) -> Iterator[str]:
    for name in patch:
        if name not in ("metadata", "spec"):
            yield _refused(name, "a pod template has metadata and spec only: remove it", "is no part of it")
    yield from _metadata_faults(patch.get("metadata", {}))
    spec = patch.get("spec", {})
    if not isinstance(spec, Mapping):
        yield _refused("spec", f"the value found is {spec!r}: write its fields", "must be an object")
        return
    for name in spec:
        if name in _OF_SPEC:
            yield _refused(f"spec.{name}", f"{_OF_SPEC[name]}: remove it")
        elif name.startswith("$"):
            yield _refused(f"spec.{name}", "it would remove fields that Argosy sets: remove it")
    yield from _volume_faults(spec)
    for part in ("containers", "initContainers"):
        yield from _containers_faults(spec, part, port)


def _metadata_faults(metadata: Any) -> Iterator[str]:
    if not isinstance(metadata, Mapping):
        yield _refused("metadata", "write labels or annotations below it", "must be an object")
        return
    for part, values in metadata.items():
        path = f"metadata.{part}"
        if part not in ("labels", "annotations"):
            yield _refused(path, "only labels and annotations of the template can be patched: remove it")
        elif not isinstance(values, Mapping):
            yield _refused(path, f"the value found is {values!r}: name each key", "must be an object")
        else:
            for key in values:
                if key.startswith((*_OWN_KEYS, "$")) or key in _OWN_LABELS:
                    why = "Argosy and Kubernetes know the pod by it: remove it"
                    yield _refused(f"{path}.{key}", why)
                elif not isinstance(values[key], str):
                    why = f"the value found is {values[key]!r}: set spec.engine.podLabels or annotations"
                    yield _refused(f"{path}.{key}", why, "must be a string")


def _items(spec: Mapping[str, Any], part: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The items of a list, each with its path; one that is no object as an empty one."""
    items = spec.get(part, [])
    for number, item in enumerate(items if isinstance(items, list | tuple) else [None]):
        yield f"spec.{part}[{number}]", item if isinstance(item, Mapping) else {}


def _volume_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    for path, volume in _items(spec, "volumes"):
        name = str(volume.get("name", ""))
        if not name:
            yield _refused(path, "volumes are merged by their names: add its name", "must have a name")
        elif name.startswith(_OWN_PREFIX):
            why = f"volumes named {_OWN_PREFIX}... are Argosy's own: mount another one at the same path"
            yield _refused(f"{path} ({name})", why)


def _containers_faults(spec: Mapping[str, Any], part: str, port: int) -> Iterator[str]:
    for path, container in _items(spec, part):
        name = container.get("name")
        if not isinstance(name, str) or not name:
            why = "containers are merged by their names: add its name"
            yield _refused(path, why, "must have a name: else it would replace the engine's container")
            continue
        path = f"{path} ({name})"
        yield from _resource_faults(path, container.get("resources", {}))
        if name == _ENGINE and part == "containers":
            yield from _engine_faults(path, container, port)
        elif name == _ENGINE:
            yield _refused(path, "the name is that of the engine's container: choose another one")
        else:
            yield from _sidecar_faults(path, container)


def _resource_faults(path: str, resources: Any) -> Iterator[str]:
    why = "GPUs are those of spec.parallelShapes and spec.resourceName of the GPUPool: remove it"
    if not isinstance(resources, Mapping):
        yield _refused(f"{path}.resources", why)
        return
    for part, values in resources.items():
        if part not in ("requests", "limits") or not isinstance(values, Mapping):
            yield _refused(f"{path}.resources.{part}", why)
            continue
        for name in values:
            if name.startswith((*GPU_RESOURCES, "$")):
                yield _refused(f"{path}.resources.{part}.{name}", why)


def _engine_faults(path: str, container: Mapping[str, Any], port: int) -> Iterator[str]:
    for name in container:
        if name in _OF_ENGINE:
            yield _refused(f"{path}.{name}", f"{_OF_ENGINE[name]}: remove it")
        elif name.startswith("$"):
            yield _refused(f"{path}.{name}", "the engine's container must stay: remove it")
    hooks = container.get("lifecycle", {})
    if not isinstance(hooks, Mapping) or set(hooks) - {"postStart"}:
        why = "preStop waits until the engine has finished its requests: patch postStart only"
        yield _refused(f"{path}.lifecycle", why)
    for each in _ports(container):
        is_own = each.get("containerPort") == port or each.get("name") == _PORT_NAME
        if is_own or any(str(key).startswith("$") for key in each):
            why = f"Envoys find the engine by its port {_PORT_NAME}: set spec.engine.port"
            yield _refused(f"{path}.ports", why)
    for part in ("ports", "env", "envFrom", "volumeMounts"):
        values = container.get(part, [])
        if not isinstance(values, list | tuple):
            yield _refused(f"{path}.{part}", f"the value found is {values!r}: list items", "must be a list")
    if any(each.get("name") == "VLLM_ALLOW_LONG_MAX_MODEL_LEN" for each in _objects(container.get("env"))):
        yield _refused(f"{path}.env", "plans read VLLM_ALLOW_LONG_MAX_MODEL_LEN: set it by spec.engine.env")


def _sidecar_faults(path: str, container: Mapping[str, Any]) -> Iterator[str]:
    if any(each.get("name") == _PORT_NAME for each in _ports(container)):
        why = f"Envoys find the engine by the port {_PORT_NAME}: choose another name"
        yield _refused(f"{path}.ports", why)


def _ports(container: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _objects(container.get("ports"))


def _objects(items: Any) -> list[Mapping[str, Any]]:
    return [i for i in items if isinstance(i, Mapping)] if isinstance(items, list | tuple) else []
