"""The Secrets that hold the certificates of mutual TLS.

Owns their names and form. Input: contents by part (`certificates.wanted.Part`). Output: the same, read from
and applied to the API server; every refusal is an `ActuationError`. Each call names its Secret, so a role
that is limited to these names suffices: an apply creates one that is missing, which the API server authorises
by name too.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from argosy.certificates.reading import Files
from argosy.certificates.renewal import Held
from argosy.certificates.wanted import Part
from argosy.keys import NamespacedName
from argosy.kube.api import SECRETS, ApiServer

LABEL = "argosy.dev/certificates"
"""On every Secret of certificates; its value is the name that they share."""
_TYPE = "kubernetes.io/tls"
"""As cert-manager's, which may take over the same Secret later: a type cannot be changed."""


@dataclass(frozen=True, slots=True)
class _Found:
    version: str
    type: str


class CertificateSecrets:
    """The Secrets `NAME-ca`, `NAME-server` and `NAME-envoy` of one namespace."""

    def __init__(self, api: ApiServer, namespace: str, name: str) -> None:
        self._api, self._namespace, self.name = api, namespace, name
        self._found: dict[Part, _Found] = {}

    def key(self, part: Part) -> NamespacedName:
        """Where one part is."""
        return NamespacedName.of(self._namespace, f"{self.name}-{part}")

    async def read(self) -> Held:
        """What they hold now; one that is missing is left out."""
        held: Held = {}
        self._found = {}
        for part in Part:
            secret = await self._api.find(SECRETS, self.key(part))
            if secret is not None:
                metadata = secret["metadata"]
                self._found[part] = _Found(str(metadata.get("resourceVersion")), str(secret.get("type")))
                held[part] = _decoded(secret.get("data") or {})
        return held

    async def write(self, part: Part, files: Files) -> None:
        """Apply one; refused with the next step Replan where it has changed since it was read."""
        found = self._found.get(part)
        key = self.key(part)
        metadata: dict[str, Any] = {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {LABEL: self.name, "app.kubernetes.io/part-of": "argosy"},
        }
        if found is not None:
            metadata["resourceVersion"] = found.version
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": found.type if found is not None else _TYPE,
            "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
        }
        await self._api.apply(SECRETS, key, body)


def _decoded(data: dict[str, Any]) -> Files:
    """A value that is no base64 is left out: it counts as missing, and is replaced."""
    files = {}
    for name, value in data.items():
        try:
            files[name] = base64.b64decode(str(value), validate=True)
        except (binascii.Error, ValueError):
            continue
    return files
