"""Finding, starting and ending Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy_sim.controlplane.errors import MissingBinaryError, StartError
from argosy_sim.envoy import EnvoyProcess, EnvoySettings, find_envoy


def program(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def test_a_configured_envoy_comes_first(tmp_path: Path) -> None:
    mine = program(tmp_path / "mine", b"\x7fELF")
    assert find_envoy(mine, {"PATH": ""}) == mine


def test_a_configured_path_that_is_no_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingBinaryError, match="nowhere"):
        find_envoy(tmp_path / "nowhere")


def test_an_envoy_on_the_path_comes_before_the_wheels(tmp_path: Path) -> None:
    system = program(tmp_path / "bin" / "envoy", b"\x7fELF")
    assert find_envoy(None, {"PATH": str(system.parent)}) == system


def test_the_wheels_script_on_the_path_is_passed_over_for_its_binary(tmp_path: Path) -> None:
    script = program(tmp_path / "bin" / "envoy", b"#!/usr/bin/python3\n")
    found = find_envoy(None, {"PATH": str(script.parent)})
    assert found != script
    assert found.read_bytes()[:4] == b"\x7fELF"


async def test_an_envoy_that_cannot_start_says_why(tmp_path: Path) -> None:
    settings = EnvoySettings("e", (("127.0.0.1", 99999),), tmp_path, find_envoy())
    with pytest.raises(StartError, match="PortValue"):
        await EnvoyProcess.start(settings)
