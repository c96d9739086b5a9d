"""The routes of a host, and what is needed to set them."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from host_routes import FakeIp
from typer.testing import CliRunner

from argosy_sim import cli, local
from argosy_sim.livefleet.errors import AttachError
from argosy_sim.livefleet.host import routes
from argosy_sim.livefleet.host.routes import HostRoutes, require_linux_and_root

RANGE = IPv4Network("198.18.0.0/16")


def status(tmp_path: Path, capabilities: int) -> Path:
    file = tmp_path / "status"
    file.write_text(f"Name:\targosy\nCapEff:\t{capabilities:016x}\n")
    return file


def test_a_fleets_route_is_known_from_others_and_can_be_taken_back() -> None:
    ip = FakeIp()
    host = HostRoutes(ip)
    assert host.fleets() == []
    host.add(RANGE)
    assert host.fleets() == [RANGE]
    assert {str(each.network) for each in host.taken()} == {"172.17.0.0/16", "198.18.0.0/16"}
    host.remove(RANGE)
    assert host.fleets() == []


def test_root_on_linux_with_ip_may_go_on(tmp_path: Path) -> None:
    require_linux_and_root("linux", status(tmp_path, 1 << 12), "true")


@pytest.mark.parametrize(
    ("platform", "capabilities", "program", "why"),
    [
        ("darwin", 1 << 12, "true", "on Linux only: .* Use `make kind`: its engines are pods"),
        ("linux", 1 << 12, "no-such-ip", "`no-such-ip` is not on the PATH: install iproute2"),
        ("linux", 1 << 11, "true", r"only root may set \(CAP_NET_ADMIN\): run the same by sudo"),
    ],
)
def test_a_host_that_cannot_set_routes_is_refused_with_the_remedy(
    platform: str, capabilities: int, program: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(AttachError, match=why):
        require_linux_and_root(platform, status(tmp_path, capabilities), program)


def test_what_ip_says_is_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 2, "", "RTNETLINK answers: Operation not permitted\n")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(
        AttachError, match=r"`ip -4 route add local 198.* failed: RTNETLINK answers: Operation not"
    ):
        HostRoutes().add(RANGE)


def test_a_missing_ip_is_a_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AttachError, match="`ip -4 route` failed: "):
        routes.run_ip(["route"])


def test_the_command_is_refused_before_a_process_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse() -> None:
        raise AttachError("only root", "--kubeconfig")

    monkeypatch.setattr(local, "require_linux_and_root", refuse)
    line = ["fleet", "--kubeconfig", str(tmp_path / "config"), "--state-dir", str(tmp_path)]
    answer = CliRunner().invoke(cli.app, line)
    assert str(answer.exception) == "--kubeconfig: only root"
    assert not (tmp_path / "fleet").exists()


@pytest.mark.parametrize("flag", ["--pod-range", "--trial-image"])
def test_flags_of_an_attached_fleet_need_its_cluster(flag: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["fleet", flag, "10.1.0.0/16", "--state-dir", str(tmp_path)])
    assert f"--kubeconfig: {flag} chooses what is needed with --kubeconfig only" in str(answer.exception)
