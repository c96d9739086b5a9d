"""The state directory: written early, read by others, and never a stranger's."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
from pathlib import Path

import pytest
import yaml

from argosy_sim.controlplane.binaries import Binaries
from argosy_sim.controlplane.components import API_SERVER, ETCD, command
from argosy_sim.controlplane.credentials.certificates import issue_all
from argosy_sim.controlplane.errors import StateDirectoryInUseError
from argosy_sim.controlplane.host.processes import Identity, Process, identify
from argosy_sim.controlplane.lifecycle import ComponentStatus, Health, Status, default_state_dir, down, status
from argosy_sim.controlplane.state import ControlPlaneState, Layout, Ports

PROGRAMS = Binaries(
    Path("/b/etcd"), Path("/b/kube-apiserver"), Path("/b/kcm"), Path("/b/scheduler"), Path("/b/kubectl")
)
GONE = Identity(pid=2**22 - 1, start_ticks=1, boot_id="never")


def state(directory: Path, *processes: Process) -> ControlPlaneState:
    return ControlPlaneState(
        server_url="https://127.0.0.1:1001",
        ports=Ports(1001, 1002, 1003),
        binaries=PROGRAMS,
        processes=processes,
        started_at_s=1.5,
        kubeconfigs={"admin": directory / "admin.kubeconfig"},
    )


def me(name: str) -> Process:
    identity = identify(os.getpid())
    assert identity is not None
    return Process(name, identity, Path("/nowhere.log"))


def test_a_saved_state_is_read_back_whole(tmp_path: Path) -> None:
    expected = state(tmp_path, me(ETCD), Process(API_SERVER, GONE, tmp_path / "log"))
    Layout(tmp_path).save(expected)
    assert Layout(tmp_path).load() == expected


def test_a_restarted_component_replaces_its_record(tmp_path: Path) -> None:
    first = Process(API_SERVER, GONE, tmp_path / "log")
    assert state(tmp_path, me(ETCD), first).with_process(me(API_SERVER)).processes == (
        me(ETCD),
        me(API_SERVER),
    )


def test_a_directory_with_a_running_control_plane_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.save(state(tmp_path, me(ETCD)))
    with pytest.raises(StateDirectoryInUseError, match=rf"running in .*etcd \(pid {os.getpid()}\)"):
        layout.require_unused()


def test_a_directory_with_a_dead_control_plane_may_be_used_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.save(state(tmp_path, Process(ETCD, GONE, tmp_path / "log")))
    layout.etcd.mkdir()
    layout.require_unused()


def test_a_stranger_s_directory_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    (tmp_path / "etcd" / "precious").write_text("data")
    with pytest.raises(StateDirectoryInUseError, match=r"holds etcd, but no state\.json"):
        Layout(tmp_path).require_unused()
    assert (tmp_path / "etcd" / "precious").read_text() == "data"


def test_a_stranger_s_state_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"somebody": "else"}')
    with pytest.raises(StateDirectoryInUseError, match="was not written by this version"):
        status(tmp_path)


def test_clearing_removes_our_files_and_no_other(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.save(state(tmp_path))
    layout.write_credentials(issue_all(dt.datetime.now(dt.UTC)), "https://127.0.0.1:1")
    layout.log(ETCD).parent.mkdir()
    layout.log(ETCD).touch()
    (tmp_path / "notes.txt").touch()
    layout.clear(keep_logs=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "notes.txt"]


def test_everything_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.save(state(tmp_path))
    layout.write_credentials(issue_all(dt.datetime.now(dt.UTC)), "https://127.0.0.1:1")
    readable = [p.name for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
    assert readable == []


def test_the_admin_kubeconfig_needs_no_other_file(tmp_path: Path) -> None:
    certificates = issue_all(dt.datetime.now(dt.UTC))
    Layout(tmp_path).write_credentials(certificates, "https://127.0.0.1:1001")
    config = yaml.safe_load((tmp_path / "admin.kubeconfig").read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    assert cluster["server"] == "https://127.0.0.1:1001"
    assert base64.b64decode(cluster["certificate-authority-data"]) == certificates.ca.certificate_pem
    assert base64.b64decode(user["client-key-data"]) == certificates.admin.key_pem


def test_a_command_line_uses_the_recorded_program_and_ports(tmp_path: Path) -> None:
    line = command(API_SERVER, Layout(tmp_path), state(tmp_path))
    assert line[0] == "/b/kube-apiserver"
    assert {"--secure-port=1001", "--etcd-servers=http://127.0.0.1:1002"} <= set(line)


def test_the_status_of_an_empty_directory_is_absent_and_down_does_nothing(tmp_path: Path) -> None:
    assert status(tmp_path) == Status(tmp_path, Health.ABSENT)
    assert down(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_control_plane_that_was_killed_is_dead(tmp_path: Path) -> None:
    Layout(tmp_path).save(state(tmp_path, Process(ETCD, GONE, tmp_path / "log")))
    assert status(tmp_path).health is Health.DEAD


def test_the_default_directory_follows_the_desktop_convention(tmp_path: Path) -> None:
    assert default_state_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/argosy/default")
    assert default_state_dir({}) == Path.home() / ".local/state/argosy/default"


def test_a_status_with_components_is_json(tmp_path: Path) -> None:
    part = ComponentStatus("etcd", 12, True, 2**20, tmp_path / "etcd.log")
    found = Status(tmp_path, Health.READY, "https://127.0.0.1:6443", tmp_path / "admin", (part,)).document()
    assert json.loads(json.dumps(found))["components"] == [
        {
            "name": "etcd",
            "pid": 12,
            "is_running": True,
            "resident_bytes": 2**20,
            "log": str(tmp_path / "etcd.log"),
        }
    ]
