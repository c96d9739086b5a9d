"""Owns kubeconfig files: one cluster, one user, everything embedded, readable by its owner alone."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from argosy.files import atomic


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the API server is, and the PEM of the authority that vouches for it."""

    server_url: str
    ca_pem: bytes


def certificate_user(certificate_pem: bytes, key_pem: bytes) -> dict[str, str]:
    """Return the user entry of a client certificate."""
    return {"client-certificate-data": _base64(certificate_pem), "client-key-data": _base64(key_pem)}


def token_user(token: str) -> dict[str, str]:
    """Return the user entry of a bearer token."""
    return {"token": token}


def kubeconfig(
    cluster: Cluster, name: str, user: dict[str, str], namespace: str = "default"
) -> dict[str, Any]:
    """Return the kubeconfig of one user, its context called `argosy`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "argosy",
        "clusters": [
            {
                "name": "argosy",
                "cluster": {
                    "server": cluster.server_url,
                    "certificate-authority-data": _base64(cluster.ca_pem),
                },
            }
        ],
        "users": [{"name": name, "user": user}],
        "contexts": [
            {"name": "argosy", "context": {"cluster": "argosy", "user": name, "namespace": namespace}}
        ],
    }


def write(path: Path, config: dict[str, Any]) -> None:
    """Write a kubeconfig (it holds a key or a token: mode 0600), replacing an older one whole."""
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, never seen half-written."""
    atomic.write_bytes(path, content, mode=atomic.OWNER_ONLY)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
