"""kopf as the operator runs it."""

import getpass
import threading
from pathlib import Path

import pytest

from argosy.reconcile.watch.kopf_thread import _run_kopf

KUBECONFIG = """
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
"""


def test_watches_run_as_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unnamed() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr(getpass, "getuser", unnamed)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    stop = threading.Event()
    stop.set()
    _run_kopf(kubeconfig, frozenset({"pods"}), lambda kind, event: None, stop)
