"""Which kubeconfig a process uses when its command line names none.

Owns the order: the cluster that the process runs in, then, as kubectl, `$KUBECONFIG` and `~/.kube/config`.
Input: the environment. Output: a path, or None for the cluster that the process runs in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from argosy.errors import SpecError

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def require_readable(kubeconfig: Path, named_by: str = "--kubeconfig") -> Path:
    """The path. Raises `SpecError` where it cannot be read: the client would take it for an empty file."""
    try:
        kubeconfig.read_bytes()
    except OSError as error:
        raise SpecError(f"{kubeconfig} cannot be read: {error.strerror}", named_by) from error
    return kubeconfig


def find_kubeconfig(environment: Mapping[str, str], home: Path, token: Path = TOKEN) -> Path | None:
    """The file to use; None in a pod.

    Raises SpecError where there is none, or `$KUBECONFIG` names several files: kubectl would merge them.
    """
    if environment.get("KUBERNETES_SERVICE_HOST") and token.is_file():
        return None
    named = [Path(each).expanduser() for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    if not named:
        default = home / ".kube" / "config"
        if default.is_file():
            return default
        raise SpecError(
            f"this process runs in no cluster, KUBECONFIG is not set, and there is no {default};"
            " name a kubeconfig",
            "--kubeconfig",
        )
    there = [path for path in named if path.exists()]
    if len(there) > 1:
        raise SpecError(
            f"KUBECONFIG names {len(there)} files, of which one is used; name it by --kubeconfig"
            " (`kubectl config view --flatten --minify` makes one file of the current context)",
            "KUBECONFIG",
        )
    return require_readable(there[0] if there else named[0], "KUBECONFIG")
