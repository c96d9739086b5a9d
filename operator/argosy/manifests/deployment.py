"""The Deployment that runs one variant for one sharing group.

Owns the pod template of an engine. Input: a variant, a group and a pool. Output: objects for the API
server. The template does not depend on the number of replicas or their nodes, because an edit of it
would restart every replica. Its hash is part of the Deployment's name, so that any change of it makes
a new Deployment beside the old one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from argosy.api import GPUPool
from argosy.api.gpupool import PlacementMode
from argosy.keys import DeploymentKey, GroupName
from argosy.manifests.engine_args import engine_args
from argosy.manifests.engine_pod import container_fields, pod_fields
from argosy.manifests.engine_resources import engine_resources
from argosy.manifests.strategic_merge import merged
from argosy.snapshot import Variant
from argosy.snapshot.cluster import (
    ANNOTATION_RESTARTED,
    ANNOTATION_RUNS,
    ENGINE_CONTAINER,
    ENGINE_PORT,
    HOSTNAME,
    LABEL_DEPLOYMENT,
    LABEL_GROUP,
    LABEL_MANAGED_BY,
    LABEL_MODEL,
    LABEL_POOL,
    LABEL_VARIANT,
    MANAGED_BY,
    PLACEMENT_GATE,
    label_value,
)
from argosy.snapshot.liveness import (
    HEALTH_PATH,
    HEALTH_TIMEOUT_S,
    LIVENESS_FAILURES,
    LIVENESS_PERIOD_S,
    LIVENESS_TIMEOUT_S,
    READINESS_PERIOD_S,
    UNHEALTHY_AFTER,
)

Manifest = dict[str, Any]

MODEL_PART_LIMIT = 20
"""Characters of the model's name in a Deployment's: a pod's name is 17 characters longer, and several
columns should fit into a terminal."""

HASH_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""As Kubernetes names pods: no vowels, which could make words, and no digits that look like letters."""

HASH_LENGTH = 7
"""33 bits: the chance that any two of 512 Deployments of one model have one name is 1 in 80,000."""

LOAD_LIMIT_S = 3600
"""A shorter limit of the start-up probe would restart engines that still load their weights."""

DRAIN_HOOK = """
import time, urllib.request
time.sleep(3)  # until every Envoy has taken this endpoint out of rotation
def busy():
    text = urllib.request.urlopen("http://127.0.0.1:%(port)d/metrics", timeout=2).read().decode()
    return any(float(line.rsplit(" ", 1)[1]) > 0 for line in text.splitlines()
               if line.startswith(("vllm:num_requests_running{", "vllm:num_requests_waiting{")))
while busy():
    time.sleep(0.5)
"""


@dataclass(frozen=True)
class EngineWorkload:
    """One variant in one sharing group: everything its pods depend on.

    restarted_at: when a user last ordered a restart of its replicas, as kubectl writes it; empty: never
    adopted: the Deployment of a user that runs it; None for one that Argosy makes
    """

    variant: Variant
    group: GroupName
    pool: GPUPool
    restarted_at: str = ""
    adopted: DeploymentKey | None = None

    @property
    def namespace(self) -> str:
        """Deployments live beside the model they serve."""
        return self.variant.model_key.namespace

    @cached_property
    def key(self) -> DeploymentKey:
        """Also the name of the Envoy cluster and of the plan's entry. A hash of the template: made once."""
        return self.adopted or DeploymentKey.of(self.namespace, deployment_name(self))


def deployment_name(workload: EngineWorkload) -> str:
    """The model's name and a hash that changes with anything in the pod template, its labels included.

    Short, as it is part of every pod's name. Variant, pool and sharing group are in the labels, for
    people and for programs: nothing reads them from the name.
    """
    template = _bare_template(workload)
    digest = _digest({**template, "labels": {**_template_labels(workload), **_labels_in(template)}})
    readable = workload.variant.model_key.name[:MODEL_PART_LIMIT].replace(".", "-").rstrip("-")
    return f"{readable}-{digest}"


def deployment_manifest(workload: EngineWorkload, replicas: int) -> Manifest:
    """The Deployment as an object for server-side apply."""
    name = workload.key.name
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": workload.namespace,
            "labels": _labels(workload, name),
            "annotations": {ANNOTATION_RUNS: _in_words(workload)},
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": LOAD_LIMIT_S,
            # Said, so that a pause by hand is set back: a paused Deployment exchanges no pods.
            "paused": False,
            # Argosy edits no template; where another client did, what serves stays until its successor does.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": {LABEL_DEPLOYMENT: name}},
            "template": pod_template(workload),
        },
    }


def pod_template(workload: EngineWorkload) -> Manifest:
    """The template, labelled with the Deployment that it belongs to."""
    template = _bare_template(workload)
    own = _labels(workload, workload.key.name)
    labels = {**_template_labels(workload), **_labels_in(template), **own}
    template["metadata"] = {**template.get("metadata", {}), "labels": labels}
    return template


def _labels_in(template: Manifest) -> dict[str, str]:
    """Those that a patch has added."""
    found: dict[str, str] = template.get("metadata", {}).get("labels", {})
    return found


def _labels(workload: EngineWorkload, name: str) -> dict[str, str]:
    return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_DEPLOYMENT: name, **_identity_labels(workload)}


def _template_labels(workload: EngineWorkload) -> Manifest:
    """With those that users set: the model's before the pool's."""
    own = workload.variant.engine.pod.pod_labels
    return {**workload.pool.spec.pod_labels, **own, **_identity_labels(workload)}


def _identity_labels(workload: EngineWorkload) -> Manifest:
    return {
        LABEL_VARIANT: workload.variant.name,
        LABEL_GROUP: label_value(workload.group.name),
        LABEL_MODEL: label_value(workload.variant.model_key.name),
        LABEL_POOL: label_value(workload.variant.pool),
    }


def _bare_template(workload: EngineWorkload) -> Manifest:
    """The template without the labels that hold its own hash."""
    spec: Manifest = {
        "nodeSelector": dict(workload.pool.spec.node_selector),
        "tolerations": _tolerations(workload.pool),
        # The drain hook below ends with it, whatever still runs then.
        "terminationGracePeriodSeconds": workload.variant.engine.drain_seconds,
        # A Service called "vllm" would otherwise set VLLM_PORT, which vLLM reads as its own.
        "enableServiceLinks": False,
        **pod_fields(workload.variant),
        "containers": [_engine_container(workload)],
    }
    if workload.pool.spec.placement is PlacementMode.ARGOSY:
        spec["schedulingGates"] = [{"name": PLACEMENT_GATE}]
    else:
        spec["topologySpreadConstraints"] = [_spread_over_nodes(workload)]
    annotations = dict(workload.variant.engine.pod.annotations)
    if workload.restarted_at:
        annotations[ANNOTATION_RESTARTED] = workload.restarted_at
    template = {"metadata": {"annotations": annotations}, "spec": spec} if annotations else {"spec": spec}
    patch = workload.variant.engine.pod.pod_template_patch
    return merged(template, patch) if patch else template


def _engine_container(workload: EngineWorkload) -> Manifest:
    engine = workload.variant.engine
    health = {"path": HEALTH_PATH, "port": engine.port}
    return {
        "name": ENGINE_CONTAINER,
        "image": engine.image,
        "args": engine_args(workload.variant),
        **container_fields(workload.variant),
        "ports": [{"name": ENGINE_PORT, "containerPort": engine.port}],
        "resources": engine_resources(workload.variant, workload.pool.spec.resource_name),
        "startupProbe": _probe(health, 1, HEALTH_TIMEOUT_S, LOAD_LIMIT_S),
        "readinessProbe": _probe(health, READINESS_PERIOD_S, HEALTH_TIMEOUT_S, UNHEALTHY_AFTER),
        "livenessProbe": _probe(health, LIVENESS_PERIOD_S, LIVENESS_TIMEOUT_S, LIVENESS_FAILURES),
        "lifecycle": {
            "preStop": {"exec": {"command": ["python3", "-c", DRAIN_HOOK % {"port": engine.port}]}},
        },
    }


def _probe(health: Manifest, period_s: int, timeout_s: float, failures: int) -> Manifest:
    """A probe of the kubelet's: by default it would wait for one second only."""
    return {
        "httpGet": health,
        "periodSeconds": period_s,
        "timeoutSeconds": round(timeout_s),
        "failureThreshold": failures,
    }


def _tolerations(pool: GPUPool) -> list[Manifest]:
    own = [
        {k: v for k, v in t.model_dump(by_alias=True, mode="json").items() if v is not None}
        for t in pool.spec.tolerations
    ]
    # For ever: by default Kubernetes evicts from a node whose heartbeats are missing for 300 s, though its
    # engines may answer. Argosy itself replaces an engine that is silent, and then lets its pod go.
    lost = [
        {"key": f"node.kubernetes.io/{condition}", "operator": "Exists", "effect": "NoExecute"}
        for condition in ("not-ready", "unreachable")
    ]
    return own + lost


def _spread_over_nodes(workload: EngineWorkload) -> Manifest:
    """For pools whose pods the scheduler places: replicas on different nodes, as `place` prefers."""
    return {
        "maxSkew": 1,
        "topologyKey": HOSTNAME,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {
            "matchLabels": {
                label: value
                for label, value in _identity_labels(workload).items()
                if label in (LABEL_VARIANT, LABEL_GROUP)
            }
        },
    }


def _in_words(workload: EngineWorkload) -> str:
    """With the names in full: labels cut long ones. Which classes share the group is in the FleetPlan."""
    variant = workload.variant
    shape = f"tensor parallel {variant.tensor_parallel}"
    if variant.pipeline_parallel > 1:
        shape += f", pipeline parallel {variant.pipeline_parallel}"
    return (
        f"ServedModel {variant.model_key.name} on GPUPool {variant.pool}, {shape}, "
        f"for sharing group {workload.group.name}"
    )


def _digest(value: Manifest) -> str:
    number = int.from_bytes(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest())
    letters: list[str] = []
    for _ in range(HASH_LENGTH):
        number, rest = divmod(number, len(HASH_ALPHABET))
        letters.append(HASH_ALPHABET[rest])
    return "".join(letters)
