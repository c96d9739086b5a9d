"""What an engine's pod has beside vLLM's arguments: secrets, volumes, resources, accounts, security.

Owns the fields of `spec.engine` under the names that Kubernetes gives them, and their rules. None of them
changes what an engine can do, so none is part of a variant's identity; all are part of the pod template. What
the API server checks by itself (names, quantities, paths) is left to it: `reconcile` asks it by a dry run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from argosy.api.engine.patch import GPU_RESOURCES
from argosy.api.engine.volumes import Volume, VolumeMount, mounts_rules
from argosy.api.schema.pod_labels import PodLabels, pod_labels_rule
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import LABEL_NAME, KeyedBy, OrInteger, Value

Text = Annotated[str, Field(max_length=253)]
"""A name or a path that the API server checks."""
Quantities = Annotated[Mapping[str, Annotated[str, Field(max_length=32), OrInteger()]], Field(max_length=16)]


def _one_of(name: str, path: str, attributes: Mapping[str, str]) -> Rule:
    """The rule that exactly one of these fields is set. attributes: JSON name by attribute"""
    have = ", ".join(f"has(self.{json})" for json in attributes.values())
    listed = ", ".join(attributes.values())
    return Rule(
        name=f"servedmodel-{name}",
        cel=f"[{have}].filter(given, given).size() == 1",
        message=f"{path}: exactly one of {listed} must be set",
        holds=lambda value: sum(getattr(value, each) is not None for each in attributes) == 1,
    )


class KeyReference(Value):
    """A key of a Secret or ConfigMap in the object's namespace."""

    name: Text = Field(description="Name of the Secret or ConfigMap.")
    key: Text = Field(description="Key in its data.")
    optional: bool | None = Field(None, description="Whether the pod starts without it.")


class FieldReference(Value):
    """A field of the pod itself."""

    field_path: Text = Field(description="Path of the field, such as status.podIP.")
    api_version: Text | None = Field(None, description="Version of the path; v1 by default.")


class ResourceReference(Value):
    """A request or limit of the pod's own containers."""

    resource: Text = Field(description="The resource, such as limits.memory.")
    container_name: Text | None = Field(None, description="Container; by default the engine's.")
    divisor: Text | None = Field(None, description="Unit in which it is given, such as 1Mi.")


class ValueSource(Value):
    """Where the value of an environment variable comes from."""

    secret_key_ref: KeyReference | None = Field(None, description="Key of a Secret.")
    config_map_key_ref: KeyReference | None = Field(None, description="Key of a ConfigMap.")
    field_ref: FieldReference | None = Field(None, description="Field of the pod.")
    resource_field_ref: ResourceReference | None = Field(None, description="Request or limit of the pod.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        _one_of(
            "env-source",
            "spec.engine.env.valueFrom",
            {
                "secret_key_ref": "secretKeyRef",
                "config_map_key_ref": "configMapKeyRef",
                "field_ref": "fieldRef",
                "resource_field_ref": "resourceFieldRef",
            },
        ),
    )


class EnvVar(Value):
    """An environment variable of the engine."""

    name: str = Field(
        min_length=1,
        max_length=256,
        pattern=r"^[-._A-Za-z][-._A-Za-z0-9]*$",
        description="Name of the variable.",
    )
    value: str = Field("", max_length=4096, description="Value of the variable, taken literally.")
    value_from: ValueSource | None = Field(
        None, description="Where its value comes from, such as a key of a Secret; instead of value."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="servedmodel-env-value",
            cel="!has(self.valueFrom) || self.value == ''",
            message="spec.engine.env: a variable has either a value or a valueFrom; remove one of them",
            holds=lambda variable: variable.value_from is None or variable.value == "",
        ),
    )


class ObjectReference(Value):
    """A Secret or ConfigMap in the object's namespace."""

    name: Text = Field(description="Name of the Secret or ConfigMap.")
    optional: bool | None = Field(None, description="Whether the pod starts without it.")


class EnvFrom(Value):
    """Environment variables from all keys of a Secret or ConfigMap."""

    prefix: Text | None = Field(None, description="What the name of each variable begins with.")
    secret_ref: ObjectReference | None = Field(None, description="The Secret.")
    config_map_ref: ObjectReference | None = Field(None, description="The ConfigMap.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        _one_of(
            "env-from-source",
            "spec.engine.envFrom",
            {"secret_ref": "secretRef", "config_map_ref": "configMapRef"},
        ),
    )


class PullSecret(Value):
    """A Secret with which the image is pulled."""

    name: Text = Field(description="Name of the Secret.")


class Resources(Value):
    """Requests and limits of the engine's container, GPUs apart."""

    requests: Quantities = Field({}, description="What the scheduler keeps free for it, by resource.")
    limits: Quantities = Field({}, description="What it may use at most, by resource.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="servedmodel-resources-gpus",
            cel=" && ".join(
                f"(!has(self.{part}) || self.{part}.all(name, !("
                + " || ".join(f"name.startsWith('{each}')" for each in GPU_RESOURCES)
                + ")))"
                for part in ("requests", "limits")
            ),
            message=(
                "spec.engine.resources must not name GPUs: their number is that of spec.parallelShapes, and"
                " their resource spec.resourceName of the GPUPool; remove them"
            ),
            holds=lambda value: (
                not any(name.startswith(GPU_RESOURCES) for name in (*value.requests, *value.limits))
            ),
        ),
    )


class Capabilities(Value):
    """Linux capabilities."""

    add: Annotated[tuple[Text, ...], Field(max_length=16)] = Field((), description="Those added.")
    drop: Annotated[tuple[Text, ...], Field(max_length=16)] = Field((), description="Those taken away.")


class Profile(Value):
    """A seccomp or AppArmor profile."""

    type: Text = Field(description="RuntimeDefault, Localhost or Unconfined.")
    localhost_profile: Text | None = Field(None, description="Name of a profile on the node (Localhost).")


class SecurityContext(Value):
    """Security settings of the engine's container."""

    run_as_user: int | None = Field(None, description="User id of its processes.")
    run_as_group: int | None = Field(None, description="Group id of its processes.")
    run_as_non_root: bool | None = Field(None, description="Whether user id 0 is refused.")
    read_only_root_filesystem: bool | None = Field(None, description="Whether the image is read-only.")
    allow_privilege_escalation: bool | None = Field(None, description="Whether it may gain privileges.")
    privileged: bool | None = Field(None, description="Whether it runs privileged on the node.")
    capabilities: Capabilities | None = Field(None, description="Its Linux capabilities.")
    seccomp_profile: Profile | None = Field(None, description="Its seccomp profile.")
    app_armor_profile: Profile | None = Field(None, description="Its AppArmor profile.")


class PodSecurityContext(Value):
    """Security settings of the whole pod."""

    run_as_user: int | None = Field(None, description="User id of all processes.")
    run_as_group: int | None = Field(None, description="Group id of all processes.")
    run_as_non_root: bool | None = Field(None, description="Whether user id 0 is refused.")
    fs_group: int | None = Field(None, description="Group that owns the files of volumes.")
    fs_group_change_policy: Text | None = Field(
        None, description="When files of a volume are given to fsGroup: OnRootMismatch or Always."
    )
    supplemental_groups: Annotated[tuple[int, ...], Field(max_length=16)] = Field(
        (), description="Further groups of all processes."
    )
    seccomp_profile: Profile | None = Field(None, description="Seccomp profile of all containers.")


def _annotations_rule() -> Rule:
    return Rule(
        name="servedmodel-annotations",
        cel=(
            f"!has(self.annotations) || self.annotations.all(key, key.matches('{LABEL_NAME}')"
            " && !key.startsWith('argosy.dev/') && !key.startsWith('kubectl.kubernetes.io/'))"
        ),
        message=(
            "spec.engine.annotations: keys must be names of annotations, such as prometheus.io/scrape, and"
            " none by which Argosy or kubectl keep notes (argosy.dev/..., kubectl.kubernetes.io/...)"
        ),
        holds=lambda value: all(
            re.fullmatch(LABEL_NAME, key) and not key.startswith(("argosy.dev/", "kubectl.kubernetes.io/"))
            for key in value.annotations
        ),
        field="annotations",
    )


class EnginePod(Value):
    """The fields of `spec.engine` that only the pod has."""

    pod_labels: PodLabels = Field(
        {},
        description=(
            "Labels of the engine's pods, such as kueue.x-k8s.io/queue-name. A change exchanges the replicas."
        ),
    )
    annotations: Annotated[Mapping[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = (
        Field({}, description="Annotations of the engine's pods. A change exchanges the replicas.")
    )
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), KeyedBy("name")] = Field(
        (), description="Environment variables of the engine."
    )
    env_from: Annotated[tuple[EnvFrom, ...], Field(max_length=16)] = Field(
        (), description="Secrets and ConfigMaps, each key of which is an environment variable."
    )
    image_pull_secrets: Annotated[tuple[PullSecret, ...], Field(max_length=8), KeyedBy("name")] = Field(
        (), description="Secrets with which the pod's images are pulled."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="When the image is pulled. Absent: as Kubernetes decides by the image's tag."
    )
    service_account_name: Text | None = Field(
        None,
        description=(
            "ServiceAccount of the pod. Absent: the namespace's default one, without a token in the pod."
        ),
    )
    volumes: Annotated[tuple[Volume, ...], Field(max_length=32), KeyedBy("name")] = Field(
        (), description="Volumes of the pod, such as a model cache on a PersistentVolumeClaim."
    )
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(max_length=32), KeyedBy("mountPath")] = Field(
        (), description="Where the engine's container sees volumes."
    )
    resources: Resources = Field(
        Resources(),
        description=(
            "Requests and limits of the engine's container, GPUs apart. What is absent is set by the number"
            " of GPUs (CPU) and by the size of the weights (memory)."
        ),
    )
    runtime_class_name: Text | None = Field(None, description="RuntimeClass of the pod, such as nvidia.")
    priority_class_name: Text | None = Field(None, description="PriorityClass of the pod.")
    security_context: SecurityContext = Field(
        SecurityContext(),
        description=(
            "Security settings of the engine's container. What is absent is as Pod Security `restricted`"
            " needs it."
        ),
    )
    pod_security_context: PodSecurityContext = Field(
        PodSecurityContext(),
        description=(
            "Security settings of the pod (its securityContext). What is absent is as Pod Security"
            " `restricted` needs it: user 2000 of vLLM's images, group 0."
        ),
    )

    pod_template_patch: Annotated[Mapping[str, Any], Field(max_length=2)] = Field(
        {},
        description=(
            "Strategic merge patch of the finished pod template (metadata, spec), for what no field sets: at"
            " most 16 KiB. It is refused where it would change what another field or Argosy itself sets."
        ),
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        pod_labels_rule("servedmodel", "spec.engine.podLabels"),
        _annotations_rule(),
        *mounts_rules(),
    )


def written(value: Value) -> dict[str, Any]:
    """The value as Kubernetes has it: fields under their own names, without those that are absent."""
    return value.model_dump(by_alias=True, mode="json", exclude_none=True)
