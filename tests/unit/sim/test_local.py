"""What `argosy sim` finds of a fleet and an Envoy, and ends; real processes stand for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from argosy.errors import SpecError
from argosy_sim import local
from argosy_sim.cli import app
from argosy_sim.controlplane.binaries import Binaries
from argosy_sim.controlplane.cluster import ControlPlane
from argosy_sim.controlplane.errors import StartError, StateDirectoryInUseError
from argosy_sim.controlplane.host.processes import (
    Ending,
    Identity,
    Process,
    end,
    identify,
    is_running,
    launch_orphan,
)
from argosy_sim.controlplane.state import ControlPlaneState, Layout, Ports

SLEEP = [sys.executable, "-c", "import time; time.sleep(120)"]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Identity]:
    """A process without a parent, as a detached Envoy is."""
    process = launch_orphan(os.environ, "sleeper", SLEEP, tmp_path / "log")
    yield process.identity
    end(process.identity, 5.0)


def recorded(directory: Path, identity: Identity) -> None:
    """Write what `argosy sim envoy` writes."""
    local.envoy_folder(directory).mkdir(parents=True)
    row = {"process": asdict(identity), "node_id": "edge", "admin_port": 1, "stats_port": 2}
    (local.envoy_folder(directory) / "state.json").write_text(json.dumps(row))


def test_an_orphan_outlives_the_process_that_starts_it(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from argosy_sim.controlplane.host.processes import launch_orphan\n"
        "found = launch_orphan(os.environ, 'x', sys.argv[2:], Path(sys.argv[1]))\n"
        "print(found.identity.pid, os.getpid())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log"), *SLEEP]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    pid, starter = map(int, answer.stdout.split())
    found = identify(pid)
    assert found is not None
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert parent != starter
    finally:
        assert end(found, 5.0) is Ending.TERMINATED


def test_down_ends_the_envoy_that_is_recorded_and_removes_the_operators_state(
    tmp_path: Path, sleeper: Identity
) -> None:
    recorded(tmp_path, sleeper)
    local.operator_folder(tmp_path).mkdir()
    assert [each.name for each in local.companions(tmp_path)] == ["envoy"]
    assert local.down(tmp_path) == {"envoy": Ending.TERMINATED}
    assert not is_running(sleeper)
    assert not local.operator_folder(tmp_path).exists()
    assert local.down(tmp_path) == {}


def test_down_leaves_a_process_alone_that_only_has_the_recorded_pid(
    tmp_path: Path, sleeper: Identity
) -> None:
    recorded(tmp_path, Identity(sleeper.pid, sleeper.start_ticks - 1, sleeper.boot_id))
    assert local.companions(tmp_path) == ()
    assert local.down(tmp_path) == {}
    assert is_running(sleeper)


def test_an_envoy_without_a_control_plane_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no control plane was started in "):
        local.require_no_envoy(tmp_path)


def test_a_file_of_another_program_is_named(tmp_path: Path) -> None:
    local.envoy_folder(tmp_path).mkdir()
    (local.envoy_folder(tmp_path) / "state.json").write_text("{}")
    with pytest.raises(StateDirectoryInUseError, match=r"state\.json was not written by `argosy sim envoy`"):
        local.load_envoy(tmp_path)


def test_up_says_that_the_control_plane_is_dead_and_ends_its_envoy_before_it_starts_another(
    tmp_path: Path, sleeper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Process("etcd", Identity(sleeper.pid, sleeper.start_ticks - 1, sleeper.boot_id), tmp_path / "log")
    programs = Binaries(*(tmp_path / str(number) for number in range(5)))
    Layout(tmp_path).save(ControlPlaneState("https://dead", Ports(1, 2, 3), programs, (gone,), 1.0, {}))
    recorded(tmp_path, sleeper)

    def start(*_: object) -> None:
        assert not is_running(sleeper)
        raise StartError("as far as this test goes")

    monkeypatch.setattr(ControlPlane, "start", start)
    result = CliRunner().invoke(app, ["up", "--state-dir", str(tmp_path)])
    assert isinstance(result.exception, StartError)
    assert result.output == f"The control plane in {tmp_path} is dead; starting it afresh.\n"
