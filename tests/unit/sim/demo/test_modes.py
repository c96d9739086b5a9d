"""Which mode the demo tells its story in, and what it refuses before anything is made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from argosy.errors import SpecError
from argosy_sim.controlplane.errors import StartError
from argosy_sim.demo import run
from argosy_sim.demo.drive import LoadChoice
from argosy_sim.demo.run import DemoSettings, run_demo

ROOT = Path(__file__).parents[4]
OPERATOR = {"kind": "Deployment", "metadata": {"name": "argosy-operator"}}
CHAT = {"kind": "WorkloadClass", "metadata": {"name": "chat", "namespace": "default"}}
Demo = Callable[..., bool]


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """The demo on a cluster behind a kubectl that is a shell script: items by a word of the arguments."""

    def tell(image: str | None = None, kubeconfig: str | None = "kubeconfig", **items: object) -> bool:
        listed = {"other": [], **items}
        cases = "".join(
            f"*{'' if word == 'other' else word}*) echo {shlex.quote(json.dumps({'items': found}))};;"
            for word, found in sorted(listed.items(), key=lambda each: each[0] == "other")
        )
        program = tmp_path / "kubectl"
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncase "$*" in {cases} esac\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        place = None if kubeconfig is None else tmp_path / kubeconfig
        settings = DemoSettings(ROOT, tmp_path / "out", LoadChoice(), "", False, place, image)
        return run_demo(settings, Console())

    return tell


def test_beside_argosy_the_clusters_own_pods_are_used(demo: Demo, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--kubeconfig: WorkloadClass default/chat would take part"):
        demo(deployments=[OPERATOR], workloadclasses=[CHAT])
    calls = (tmp_path / "calls").read_text()
    assert " create " not in calls
    assert " delete " not in calls


def test_without_argosy_nodes_are_attached(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(*_: object) -> None:
        raise StartError("attached")

    monkeypatch.setattr(run, "on_attached_stage", attach)
    with pytest.raises(StartError, match="attached"):
        demo()


@pytest.mark.parametrize("kubeconfig", [None, "kubeconfig"])
def test_an_image_that_nothing_would_run_is_refused(demo: Demo, kubeconfig: str | None) -> None:
    with pytest.raises(SpecError, match=r"--simulator-image: only on a cluster in which Argosy is installed"):
        demo("my-simulator:1", kubeconfig)
