"""Fixtures that every folder of tests may use: one real control plane for the whole run.

    control_plane      a running `ControlPlane` (session; 5 s, started on first use)
    admin_kubeconfig   the path of its administrator's kubeconfig
    kubectl            kubectl(*arguments, stdin="", check=True) -> CompletedProcess[str]
    kubectl_as         kubectl_as(kubeconfig) -> the same as another user
    say                say(line): a measured figure, printed with the test's result

Tests share the API server: each works in a namespace of its own, or cleans up after itself.
A test that breaks the control plane (kills a component) starts its own.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from argosy_sim.controlplane.binaries import binaries
from argosy_sim.controlplane.cluster import ControlPlane
from argosy_sim.controlplane.host.ports import PORTS_VARIABLE

# How long an example takes depends on what else runs here; speed is for the benchmarks.
settings.register_profile("argosy", deadline=None)
settings.load_profile("argosy")

KUBECTL_TIMEOUT_S = 60

# Several processes of one run: each has ports of its own, or one takes what another has found to be free.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
if _WORKER.isdecimal():
    _NUM_PORTS = 16384 // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    _FIRST = 16384 + _NUM_PORTS * int(_WORKER)
    os.environ[PORTS_VARIABLE] = f"{_FIRST}-{_FIRST + _NUM_PORTS - 1}"


# Called as kubectl(*arguments, stdin="", check=True): with `check`, a failure fails the test.
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def _say(config: pytest.Config) -> Callable[[str], None]:
    """Return a printer past pytest's capture: a build of minutes must not look like a hang."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    return say


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile, and never look at those 600,000 objects again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build missing programs before the first test: inside one, its time limit would count."""
    needed = any("control_plane" in getattr(item, "fixturenames", ()) for item in session.items)
    if needed and not session.config.option.collectonly:
        binaries(_say(session.config))


@pytest.fixture(scope="session")
def control_plane(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[ControlPlane]:
    with ControlPlane.start(
        tmp_path_factory.mktemp("control-plane"), say=_say(pytestconfig)
    ) as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def admin_kubeconfig(control_plane: ControlPlane) -> Path:
    return control_plane.admin_kubeconfig


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    return kubectl_of(control_plane, control_plane.admin_kubeconfig)


def kubectl_of(control_plane: ControlPlane, kubeconfig: Path) -> Kubectl:
    def run(*arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            [control_plane.binaries.kubectl, f"--kubeconfig={kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=KUBECTL_TIMEOUT_S,
        )
        if check and answer.returncode != 0:
            pytest.fail(f"kubectl {' '.join(arguments)} failed:\n{answer.stdout}{answer.stderr}")
        return answer

    return run


@pytest.fixture(scope="session")
def kubectl_as(control_plane: ControlPlane) -> Callable[[Path], Kubectl]:
    """kubectl as somebody else: give the path of a kubeconfig."""

    def as_user(kubeconfig: Path) -> Kubectl:
        return kubectl_of(control_plane, kubeconfig)

    return as_user


@pytest.fixture
def say(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a measured figure past the capture, with the test's result."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def told(line: str) -> None:
        with capsys.disabled():
            if reporter is None:  # one of several processes, which has no terminal of its own
                print(f"\n  {line}", file=sys.__stderr__, flush=True)
            else:
                reporter.write_line(f"\n  {line}")

    return told
