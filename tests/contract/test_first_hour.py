"""The path of a new user: the quick start's on this machine, word for word, and what its commands promise.

It takes the ports that the quick start names, in a network of its own where the kernel allows one to anybody
(no other process can then hold them), else on this machine.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from document_blocks import QUICKSTART, REPOSITORY, Checkout, Step, clone, steps, walk
from operator_stage import Say

from argosy_sim import local

PORTS = (8080, 18000, 18080)
LIMIT_S = 270.0
"""Of the whole path; it takes about 37 s of processor time, and waits for half a minute."""
NOHUP = Step("nohup_fleet.py", f"python {REPOSITORY}/tests/support/nohup_fleet.py")

RAISE_LOOPBACK = (
    "import fcntl, os, socket, struct, sys\n"
    "s = socket.socket()\n"
    "fcntl.ioctl(s, 0x8914, struct.pack('16sH14x', b'lo', 0x41))\n"  # SIOCSIFFLAGS: up and running
    "s.close()\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
MOST_COLUMNS = 120
"""Characters of a terminal that the tables of kubectl get fit."""

NETWORK = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", RAISE_LOOPBACK]


def own_network() -> list[str]:
    """What a command is prefixed with; skips where the quick start's ports are taken."""
    if shutil.which("unshare"):
        tried = subprocess.run([*NETWORK, "true"], capture_output=True, check=False, timeout=20)
        if tried.returncode == 0:
            return NETWORK
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port}, which the quick start names, is taken here")
    return []


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The environment of a user whose home is empty but for the cache, and who leaves nothing running."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    dropped = ("KUBECONFIG", "XDG_STATE_HOME", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    yield {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": cache}
    local.down(tmp_path / ".local/state/argosy/default")


@pytest.mark.timeout(330)
def test_the_quick_start_leads_to_a_streamed_answer_and_leaves_nothing_running(
    user: Mapping[str, str], tmp_path: Path, say: Say
) -> None:
    *path, ending = steps(QUICKSTART, "embedded")
    todo = [*path, NOHUP, ending]
    checkout = Checkout(clone(tmp_path / "argosy"), user, LIMIT_S, tuple(own_network()))
    began_s = time.monotonic()
    printed = walk(todo, checkout)
    say(f"the quick start's embedded path took {time.monotonic() - began_s:.0f} s")

    def of(command: str) -> str:
        return next(said for step, said in zip(todo, printed, strict=True) if command in step.commands)

    assert "default/chat has a demand of 8.0 req/s" in of("argosy plans 1")
    assert max(map(len, of("kubectl get wclass").splitlines())) <= MOST_COLUMNS
    for name in ("envoy", "live-fleet", "kube-apiserver", "etcd"):
        assert f"{name} terminated" in of("argosy sim down")
    assert "warning: version difference" not in checkout.error_file.read_text()
