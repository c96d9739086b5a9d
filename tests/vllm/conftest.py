"""Tests on real vLLM engines, for CPUs: `make test-vllm`. Elsewhere they are skipped.

    vllm         the installation: 6 GB in the user cache, made where it is absent
    real_stage   the embedded control plane, a live fleet whose pods run vLLM, an operator and an Envoy;
                 plans stand on that profile alone

At most two engines run, each on one core: what is judged is what they do, not how fast they do it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_stage import REPOSITORY, OperatorStage
from stage_rest import last_words
from vllm_measuring import CARD, Measured, measure
from waiting import until

from argosy_sim.livefleet.runtime.installation import VllmInstallation, find_vllm
from argosy_sim.livefleet.spec import LiveFleetSpec, NodeGroup
from argosy_sim.stage import StagePlan

ASKED_FOR = os.environ.get("ARGOSY_VLLM") == "1"
WORLD = REPOSITORY / "tests" / "data" / "vllm_world"
FLEET = LiveFleetSpec(nodes=(NodeGroup(name="core", gpu_product=CARD, gpus=1, count=2),))
LOADED_S = 300.0
"""An engine of this kind answers after 45 s on two idle cores."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An installation of 6 GB is made only where it was asked for."""
    if ASKED_FOR:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs vLLM for CPUs: make test-vllm"))


@pytest.fixture(scope="session")
def vllm() -> VllmInstallation:
    """vLLM for CPUs and its tiny model."""
    return find_vllm(os.environ, print)


@pytest.fixture(scope="session")
def measured(vllm: VllmInstallation, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A profile of this engine on this machine."""
    return measure(vllm, tmp_path_factory.mktemp("measured"))


@pytest.fixture(scope="session")
def real_stage(
    vllm: VllmInstallation, measured: Measured, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorStage]:
    """The stage, its first engine loaded."""
    directory = tmp_path_factory.mktemp("vllm")
    plan = StagePlan(directory, REPOSITORY, examples=str(WORLD), fleet=FLEET, vllm=vllm.folder)
    stage = OperatorStage.start(directory, plan)
    try:
        stage.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "measured", "namespace": "default"},
                "data": {"profile.json": measured.profile.decode()},
            }
        )
        until(lambda: stage.ready_pods("chat"), "the first engine to be ready", LOADED_S)
        yield stage
    finally:
        stage.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failed test what the stage was like."""
    outcome = yield
    report = outcome.get_result()
    stage = getattr(item, "funcargs", {}).get("real_stage")
    if report.failed and stage is not None:
        report.sections += [(name, "\n".join(lines)) for name, lines in last_words(stage)]
