"""Volumes of an engine's pod, and where its container sees them.

Owns these fields of `spec.engine`, named as in Kubernetes, and the rules that hold both lists together.
Sources of volumes that are not listed here can be added by `spec.engine.podTemplatePatch`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Value

OWN_VOLUME_PREFIX = "argosy-"
"""How names of volumes begin that Argosy adds by itself."""

_Text = Annotated[str, Field(max_length=1024)]
_Name = Annotated[str, Field(max_length=63)]
_SOURCES = {
    "persistent_volume_claim": "persistentVolumeClaim",
    "host_path": "hostPath",
    "image": "image",
    "empty_dir": "emptyDir",
    "secret": "secret",
    "config_map": "configMap",
    "nfs": "nfs",
}


class ClaimSource(Value):
    """A PersistentVolumeClaim in the object's namespace."""

    claim_name: _Text = Field(description="Name of the PersistentVolumeClaim.")
    read_only: bool | None = Field(None, description="Whether it is mounted read-only.")


class HostPathSource(Value):
    """A folder or file of the node."""

    path: _Text = Field(description="Path on the node.")
    type: _Name | None = Field(None, description="What must be there, such as Directory.")


class ImageSource(Value):
    """An OCI image or artifact, read-only."""

    reference: _Text = Field(description="The image, such as registry.example.com/models/llama:1.")
    pull_policy: _Name | None = Field(None, description="Always, IfNotPresent or Never.")


class EmptyDirSource(Value):
    """A folder that lives as long as the pod."""

    medium: _Name | None = Field(None, description="Memory, or absent for the node's disk.")
    size_limit: _Name | None = Field(None, description="What it may hold, such as 16Gi.")


class KeyPath(Value):
    """One key of a Secret or ConfigMap as a file."""

    key: _Text = Field(description="Key in the data.")
    path: _Text = Field(description="Path of the file in the volume.")


_Items = Annotated[tuple[KeyPath, ...], Field(max_length=32)]


class SecretSource(Value):
    """A Secret as files."""

    secret_name: _Text = Field(description="Name of the Secret.")
    items: _Items = Field((), description="Keys that become files; all of them where none is listed.")
    default_mode: int | None = Field(None, description="Permissions of the files.")
    optional: bool | None = Field(None, description="Whether the pod starts without it.")


class ConfigMapSource(Value):
    """A ConfigMap as files."""

    name: _Text = Field(description="Name of the ConfigMap.")
    items: _Items = Field((), description="Keys that become files; all of them where none is listed.")
    default_mode: int | None = Field(None, description="Permissions of the files.")
    optional: bool | None = Field(None, description="Whether the pod starts without it.")


class NfsSource(Value):
    """A folder of an NFS server."""

    server: _Text = Field(description="Host of the NFS server.")
    path: _Text = Field(description="Path on it.")
    read_only: bool | None = Field(None, description="Whether it is mounted read-only.")


class Volume(Value):
    """A volume of the pod: a name and one source."""

    name: _Name = Field(description="Name of the volume.")
    persistent_volume_claim: ClaimSource | None = Field(None, description="A PersistentVolumeClaim.")
    host_path: HostPathSource | None = Field(None, description="A folder or file of the node.")
    image: ImageSource | None = Field(None, description="An OCI image or artifact (Kubernetes 1.33).")
    empty_dir: EmptyDirSource | None = Field(None, description="A folder that lives as long as the pod.")
    secret: SecretSource | None = Field(None, description="A Secret as files.")
    config_map: ConfigMapSource | None = Field(None, description="A ConfigMap as files.")
    nfs: NfsSource | None = Field(None, description="A folder of an NFS server.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="servedmodel-volume-source",
            cel=(
                "["
                + ", ".join(f"has(self.{name})" for name in _SOURCES.values())
                + "].filter(given, given).size() == 1"
            ),
            message=(
                f"spec.engine.volumes: exactly one of {', '.join(_SOURCES.values())} must be set; other"
                " sources can be added by spec.engine.podTemplatePatch"
            ),
            holds=lambda volume: sum(getattr(volume, name) is not None for name in _SOURCES) == 1,
        ),
        Rule(
            name="servedmodel-volume-name",
            cel=f"!self.name.startsWith('{OWN_VOLUME_PREFIX}')",
            message=(
                f"spec.engine.volumes: names that begin with {OWN_VOLUME_PREFIX} are those of Argosy's own"
                " volumes; choose another one"
            ),
            holds=lambda volume: not volume.name.startswith(OWN_VOLUME_PREFIX),
        ),
    )


class VolumeMount(Value):
    """Where the engine's container sees a volume."""

    name: _Name = Field(description="Name of a volume of spec.engine.volumes.")
    mount_path: _Text = Field(description="Path in the container.")
    sub_path: _Text | None = Field(None, description="Path in the volume; by default its root.")
    read_only: bool | None = Field(None, description="Whether the container may not write to it.")


def mounts_rules() -> tuple[Rule, ...]:
    """The rules of a value with the fields `volumes` and `volumeMounts`."""
    return (
        Rule(
            name="servedmodel-mount-volume",
            cel="self.volumeMounts.all(mount, self.volumes.exists(volume, volume.name == mount.name))",
            message=(
                "spec.engine.volumeMounts: each name must be that of a volume in spec.engine.volumes; add the"
                " volume or correct the name"
            ),
            holds=lambda value: {m.name for m in value.volume_mounts} <= {v.name for v in value.volumes},
            field="volumeMounts",
        ),
        Rule(
            name="servedmodel-mount-root",
            # The home of user 0, which no other user may enter: vLLM would not find the volume.
            cel=(
                "(has(self.podSecurityContext.runAsUser) && self.podSecurityContext.runAsUser == 0)"
                " || (has(self.securityContext.runAsUser) && self.securityContext.runAsUser == 0)"
                " || self.volumeMounts.all(mount, !(mount.mountPath + '/').startsWith('/root/'))"
            ),
            message=(
                "spec.engine.volumeMounts: a path below /root is seen by user 0 only, and engines run as user"
                " 2000 with the home /home/vllm; use a path such as /home/vllm/.cache/huggingface, or set"
                " spec.engine.podSecurityContext.runAsUser to 0"
            ),
            holds=lambda value: (
                0 in (value.pod_security_context.run_as_user, value.security_context.run_as_user)
                or not any(f"{m.mount_path}/".startswith("/root/") for m in value.volume_mounts)
            ),
            field="volumeMounts",
        ),
    )
