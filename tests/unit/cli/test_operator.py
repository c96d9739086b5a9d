"""An operator that cannot start: one sentence that names the flag, and exit code 2."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubeconfigs import UNREACHABLE


@pytest.fixture
def taken() -> Iterator[str]:
    """A port on which another process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def last_words(directory: Path, **flags: str) -> tuple[int, list[str]]:
    """Exit code and standard error of an operator that is started with these flags."""
    (directory / "kubeconfig").write_text(UNREACHABLE)
    chosen = {
        "kubeconfig": str(directory / "kubeconfig"),
        "xds_address": "127.0.0.1:0",
        "http_address": "127.0.0.1:0",
        "state_dir": str(directory),
        **flags,
    }
    command = [sys.executable, "-m", "argosy", "operator", "run", "--log-level", "error"]
    for flag, value in chosen.items():
        command += [f"--{flag.replace('_', '-')}", value] if value else []
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr.splitlines()


def test_a_taken_port_for_envoys_is_named(tmp_path: Path, taken: str) -> None:
    sentence = (
        f"argosy: --xds-address: cannot listen for Envoys on {taken}: the port is taken or may not be used;"
        " free it or choose another"
    )
    code, lines = last_words(tmp_path, xds_address=taken)
    assert (code, [line for line in lines if line.startswith("argosy:")]) == (2, [sentence])


def test_a_taken_port_for_health_is_named(tmp_path: Path, taken: str) -> None:
    code, lines = last_words(tmp_path, http_address=taken)
    assert code == 2
    (sentence,) = lines
    assert sentence.startswith(f"argosy: --http-address: cannot listen on {taken}:")
    assert sentence.endswith("free the port or choose another")


@pytest.mark.parametrize("flag", ["xds_address", "http_address"])
def test_an_address_that_is_none_is_named(tmp_path: Path, flag: str) -> None:
    sentence = f"argosy: --{flag.replace('_', '-')}: 'here' is not host:port, such as 127.0.0.1:18000"
    assert last_words(tmp_path, **{flag: "here"}) == (2, [sentence])


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    sentence = f"argosy: --kubeconfig: {missing} cannot be read: No such file or directory"
    assert last_words(tmp_path, kubeconfig=str(missing)) == (2, [sentence])


def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("contexts: []\n")
    code, (sentence,) = last_words(tmp_path, kubeconfig=str(tmp_path / "odd"))
    assert code == 2
    assert sentence.startswith(f"argosy: --kubeconfig: {tmp_path / 'odd'}: Invalid kube-config file")


def test_without_kubeconfig_outside_a_cluster_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    sentence = (
        "argosy: --kubeconfig: this process runs in no cluster, KUBECONFIG is not set, and there is no"
        f" {tmp_path}/.kube/config; name a kubeconfig"
    )
    assert last_words(tmp_path, kubeconfig="") == (2, [sentence])


def test_the_kubeconfig_of_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    sentence = f"argosy: KUBECONFIG: {tmp_path / 'missing'} cannot be read: No such file or directory"
    assert last_words(tmp_path, kubeconfig="") == (2, [sentence])


def test_files_of_tls_are_given_together(tmp_path: Path) -> None:
    sentence = (
        "argosy: --xds-tls-key: mutual TLS needs --xds-tls-cert, --xds-tls-key, --xds-tls-ca together;"
        " give --xds-tls-key and --xds-tls-ca too"
    )
    assert last_words(tmp_path, xds_tls_cert="tls.crt") == (2, [sentence])
