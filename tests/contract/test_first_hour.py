"""The path of a new user: README's "Look around", word for word, and what its commands promise.

It takes the ports that README names, in a network of its own where the kernel allows one to anybody (no
other process can then hold them), else on this machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from operator_stage import REPOSITORY, Say, until

from argosy_sim import local
from argosy_sim.controlplane.host.processes import is_running

PORTS = (8080, 18000, 18080)
LIMIT_S = 170.0
"""Of the whole path; it takes about 40 s on two idle cores."""

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


def look_around() -> str:
    """The commands of README's section."""
    section = (REPOSITORY / "README.md").read_text().split("## Look around\n")[1]
    found = re.search(r"^```\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def own_network() -> list[str]:
    """What a command is prefixed with; skips where README's ports are taken."""
    if shutil.which("unshare"):
        tried = subprocess.run([*NETWORK, "true"], capture_output=True, check=False, timeout=20)
        if tried.returncode == 0:
            return NETWORK
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port}, which README names, is taken here")
    return []


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The environment of a user whose home is empty but for the cache, and who leaves nothing running."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    dropped = ("KUBECONFIG", "XDG_STATE_HOME", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    yield {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": cache, "PATH": path}
    local.down(state_dir(tmp_path))


def state_dir(home: Path) -> Path:
    return home / ".local/state/argosy/default"


def walked(script: str, environment: Mapping[str, str], log: Path) -> str:
    """Standard output of a bash script, which may start background jobs; all of its group ends with it."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*own_network(), "bash", "-euo", "pipefail", "-c", script],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{said}\n{log.read_text()}"
    return said


def test_the_readme_leads_to_a_streamed_answer_and_leaves_nothing_running(
    user: Mapping[str, str], tmp_path: Path, say: Say
) -> None:
    # The one change: the operator's log does not go to the checkout.
    script = look_around().replace("2> operator.log", f"2> {tmp_path}/operator.log")
    began_s = time.monotonic()
    said = walked(script, user, tmp_path / "errors")
    say(f"README's path took {time.monotonic() - began_s:.0f} s")
    lines = said.splitlines()
    endings = lines[-1]
    for name in ("envoy", "live-fleet", "kube-apiserver", "etcd"):
        assert f"{name} terminated" in endings
    header = next(line for line in lines if "REPLICAS" in line)
    table = lines[lines.index(header) : lines.index(header) + 3]
    assert max(map(len, table)) <= MOST_COLUMNS

    def shown(column: str) -> dict[str, str]:
        at = header.index(f" {column} ") + 1  # another column may be empty
        return {line.split()[0]: line[at:].split()[0] for line in table[1:]}

    assert shown("READY") == {"chat": "True", "batch": "True"}
    assert int(shown("REPLICAS")["chat"]) >= 3
    answer = lines[lines.index(header) - 1]
    assert len(answer.split()) >= 10, "twenty tokens, streamed"
    assert "warning: version difference" not in (tmp_path / "errors").read_text()


def test_a_fleet_started_with_nohup_outlives_its_shell_and_ends_with_down(
    user: Mapping[str, str], tmp_path: Path
) -> None:
    subprocess.run(["argosy", "sim", "up"], env=user, check=True, timeout=60)
    shell = subprocess.Popen(
        ["bash", "-c", f"nohup argosy sim fleet > {tmp_path}/fleet.log 2>&1 & disown; exit"],
        env=user,
        start_new_session=True,
    )
    assert shell.wait(timeout=20) == 0
    fleet = until(lambda: local.fleet_layout(state_dir(tmp_path)).load(), "the fleet to be up")
    os.killpg(shell.pid, signal.SIGHUP)  # as a terminal that closes
    assert is_running(fleet.process)
    again = subprocess.run(["argosy", "sim", "fleet"], env=user, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (2, "")
    assert f"a live fleet (pid {fleet.process.pid}) runs in " in again.stderr
    endings = local.down(state_dir(tmp_path))
    assert endings["live-fleet"].value == "terminated"
    assert not is_running(fleet.process)
