"""A Deployment's manifest where an autoscaler owns its number of replicas.

Owns what becomes of `spec.replicas` in a server-side apply. Input: the manifest, and the object as the API
server has it. Output: a manifest that changes no count.

A field that a client has applied and leaves out of the next apply is removed where no other client owns it:
the API server then sets the default, one replica. Source: "Transferring ownership" in the Kubernetes page on
server-side apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argosy.api.schema.ownership import field_managers

Manifest = Mapping[str, Any]


def without_count(manifest: Manifest, live: Manifest) -> dict[str, Any]:
    """The manifest without `spec.replicas`; with the live number where Argosy's own apply set it last.

    Then it is valid for the live object's version only: the API server refuses it (409) where an autoscaler
    has set another number meanwhile.
    """
    spec = {name: value for name, value in manifest["spec"].items() if name != "replicas"}
    metadata = dict(manifest["metadata"])
    own = (m for m in field_managers(live["metadata"]) if m.is_operator and not m.subresource)
    if any(manager.owns(("spec", "replicas")) for manager in own):
        spec["replicas"] = live["spec"]["replicas"]
        metadata["resourceVersion"] = live["metadata"]["resourceVersion"]
    return {**manifest, "metadata": metadata, "spec": spec}
