"""What an engine's pod has beside vLLM's arguments: accounts, secrets, volumes, security.

Owns the defaults, with which a namespace that enforces Pod Security `restricted` takes the pod, and how the
fields of `spec.engine` are laid over them. Input: a variant. Output: parts of the pod's and the container's
spec.
"""

from __future__ import annotations

from typing import Any

from argosy.api.engine.pod import EnginePod, EnvVar, SecurityContext, written
from argosy.snapshot import Variant

Manifest = dict[str, Any]

HOME = "/home/vllm"
"""Of the user that vLLM's images have beside root."""
USER_ID, GROUP_ID = 2000, 0
"""That user and its group, to which its images give what is written (docker/Dockerfile of vLLM 0.24)."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108  (a mount of the pod's own)
HOME_VOLUME, SHARED_MEMORY_VOLUME = "argosy-home", "argosy-shm"


def pod_fields(variant: Variant) -> Manifest:
    """The pod's own fields."""
    pod = variant.engine.pod
    fields: Manifest = {"securityContext": _pod_security(pod)}
    if pod.service_account_name is None:
        fields["automountServiceAccountToken"] = False  # an engine has nothing to ask the API server
    else:
        fields["serviceAccountName"] = pod.service_account_name
    if pod.image_pull_secrets:
        fields["imagePullSecrets"] = [written(each) for each in pod.image_pull_secrets]
    if pod.runtime_class_name is not None:
        fields["runtimeClassName"] = pod.runtime_class_name
    if pod.priority_class_name is not None:
        fields["priorityClassName"] = pod.priority_class_name
    own = [{"name": name, "emptyDir": source} for name, _, source in _own_mounts(variant)]
    fields["volumes"] = [*own, *(_filled(each) for each in map(written, pod.volumes))]
    return fields


RUNTIME_LORA = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
"""Without it vLLM has no API to load and unload adapters."""


def container_fields(variant: Variant) -> Manifest:
    """Those of the engine's container, but for its arguments, probes and resources."""
    pod = variant.engine.pod
    own = [{"name": name, "mountPath": path} for name, path, _ in _own_mounts(variant)]
    fields: Manifest = {
        "env": _environment(variant),
        "volumeMounts": [*own, *map(written, pod.volume_mounts)],
        "securityContext": _container_security(pod.security_context),
    }
    if pod.env_from:
        fields["envFrom"] = [written(each) for each in pod.env_from]
    if pod.image_pull_policy is not None:
        fields["imagePullPolicy"] = pod.image_pull_policy
    return fields


def _own_mounts(variant: Variant) -> list[tuple[str, str, Manifest]]:
    """Volumes that every engine needs, with their paths; not where a user mounts another one there."""
    wanted: list[tuple[str, str, Manifest]] = [(HOME_VOLUME, HOME, {})]
    if variant.gpus > 1:
        # NCCL's shared-memory transport needs more than the 64 MiB that a container gets.
        wanted.append((SHARED_MEMORY_VOLUME, SHARED_MEMORY, {"medium": "Memory"}))
    taken = {mount.mount_path.rstrip("/") for mount in variant.engine.pod.volume_mounts}
    return [each for each in wanted if each[1] not in taken]


def _environment(variant: Variant) -> list[Manifest]:
    """First what has no value of its own: `$(NAME)` in a value is replaced by variables before it only.

    HOME and USER: images other than vLLM's may not know the user id, and torch asks for its name.
    """
    sourced = [_variable(each) for each in variant.engine.pod.env if each.value_from is not None]
    given = [{"name": name, "value": value} for name, value in variant.engine.env]
    taken = {each["name"] for each in (*sourced, *given)}
    defaults = {"HOME": HOME, "USER": "vllm"}
    if variant.engine.max_loras:
        # With the first adapter, and not only from then on: a change of the template restarts engines.
        defaults[RUNTIME_LORA] = "True"
    own = [{"name": name, "value": value} for name, value in defaults.items() if name not in taken]
    return [*own, *sourced, *given]


def _variable(variable: EnvVar) -> Manifest:
    return {name: value for name, value in written(variable).items() if name != "value"}


def _pod_security(pod: EnginePod) -> Manifest:
    defaults: Manifest = {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": GROUP_ID,
        "fsGroup": USER_ID,
        # A model cache has many files: to change their group at each start takes minutes.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {**defaults, **_set_only(written(pod.pod_security_context))}


def _container_security(own: SecurityContext) -> Manifest:
    defaults: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if own.privileged or "SYS_ADMIN" in (own.capabilities.add if own.capabilities else ()):
        del defaults["allowPrivilegeEscalation"]  # the API server refuses this pair
    return {**defaults, **_set_only(written(own))}


def _set_only(fields: Manifest) -> Manifest:
    """Without empty lists, which the API server does not keep."""
    return {
        name: _set_only(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value != []
    }


def _filled(volume: Manifest) -> Manifest:
    return {name: _set_only(value) if isinstance(value, dict) else value for name, value in volume.items()}
