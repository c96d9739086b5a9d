"""The paths of the documents that need a cluster, word for word, on kind: what they promise comes true.

They are the last tests on kind. The quick start's path begins on the cluster that `make kind` left and ends,
as the document does, by `make kind-down`; the others begin with a cluster of their own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from document_blocks import INSTALL, QUICKSTART, REPOSITORY, Checkout, clone, steps, walk
from kind_cluster import CommandFailedError, kubectl

from argosy_sim.controlplane.binaries import helm as find_helm

LIMIT_S = 900.0
"""Of a path, with the loading of images, and with their building where none is there."""
TAG = os.environ.get("TAG") or "dev"
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
PORTS = (8080, 9901, 9902, 18000, 18080)
LEAST_WORDS = 10
"""Of a streamed answer of 20 tokens."""

pytestmark = pytest.mark.timeout(2 * LIMIT_S)
Walk = Callable[[Path, str], str]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A clone as its user has it: with downloaded wheels, and with helm, sudo and an editor on the PATH."""
    inherited = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    path = f"{tools(tmp_path / 'tools')}{os.pathsep}{inherited['PATH']}"
    place = clone(tmp_path / "argosy")
    if wheels := inherited.get("WHEELHOUSE"):
        shutil.copytree(REPOSITORY / wheels, place / wheels)
    return Checkout(place, {**inherited, "PATH": path, "EDITOR": "choose-engine"}, LIMIT_S)


def tools(directory: Path) -> Path:
    """Programs that the documents' users have."""
    directory.mkdir()
    (directory / "helm").symlink_to(find_helm())
    if not shutil.which("sudo"):
        (directory / "sudo").symlink_to(shutil.which("env") or "/usr/bin/env")
    editor = directory / "choose-engine"
    # An engine that asks for its GPU needs an account, and one without weights little memory.
    little = "resources: {requests: {cpu: 20m, memory: 128Mi}}"
    engine = f'  engine: {{image: "argosy-simulator:{TAG}", serviceAccountName: default, {little}}}'
    editor.write_text(f"#!/bin/sh\nsed -i 's|^spec:|&\\n{engine}|' my-objects/model.yaml\n")
    editor.chmod(0o755)
    return directory


@pytest.fixture
def bare(checkout: Checkout) -> Iterator[Checkout]:
    """The clone beside a cluster with GPUs and images, without Argosy; afterwards without a cluster."""
    hack(checkout, "cluster")
    values = (REPOSITORY / "hack" / "kind" / "values.yaml").read_text()
    (checkout.directory / "my-values.yaml").write_text(values.replace("tag: dev", f"tag: {TAG}"))
    yield checkout
    hack(checkout, "down")


@pytest.fixture
def by_hand(checkout: Checkout) -> Iterator[Checkout]:
    """The clone on a machine whose ports are free; no cluster and no route stays, wherever the path ended."""
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                pytest.skip(f"port {port}, which the document names, is taken here")
    yield checkout
    hack(checkout, "down")
    routes = checkout.directory / "routes"
    for route in routes.read_text().splitlines() if routes.exists() else []:
        subprocess.run(["ip", "route", "delete", *route.split()], capture_output=True, check=False)


def hack(checkout: Checkout, command: str) -> None:
    done = subprocess.run(
        ["hack/kind.sh", command],
        cwd=checkout.directory,
        env=checkout.environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def walked(document: Path, path: str, checkout: Checkout) -> str:
    """What the steps of a path printed."""
    return "\n".join(walk(steps(document, path), checkout))


def answers(printed: str) -> list[str]:
    """The lines that are an answer of the simulated engine: words, without a figure or a heading."""
    lines = [line for line in printed.splitlines() if len(line.split()) >= LEAST_WORDS]
    return [line for line in lines if all(word.isalpha() and word.islower() for word in line.split())]


def argosys_namespace() -> str:
    """Its name, empty where it or the cluster is not there."""
    try:
        return kubectl("get", "namespace", "argosy-system", "--ignore-not-found", "-o", "name")
    except CommandFailedError:
        return ""


def test_the_quick_starts_path_on_kind_leads_to_an_answer_and_leaves_nothing(checkout: Checkout) -> None:
    printed = walked(QUICKSTART, "kind", checkout)
    assert answers(printed), printed
    assert argosys_namespace() == ""


def test_the_quick_starts_path_on_a_cluster_leads_from_values_to_an_answer(bare: Checkout) -> None:
    printed = walked(QUICKSTART, "cluster", bare)
    assert answers(printed), printed


def test_an_operator_and_an_envoy_by_hand_serve_a_request_and_leave_nothing(by_hand: Checkout) -> None:
    printed = walked(INSTALL, "hand", by_hand)
    assert '"choices"' in printed
    assert argosys_namespace() == ""
