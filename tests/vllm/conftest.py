"""Tests on real vLLM engines, for CPUs: `make test-vllm`. Elsewhere they are skipped.

    vllm         the installation: 6 GB in the user cache, made where it is absent
    measured     a profile of this engine on this machine
    real_stage   the embedded control plane, a live fleet whose pods run vLLM, an operator and an Envoy;
                 plans stand on that profile alone
    late_health  makes its engines answer /health late

At most two engines run, each on one core: what is judged is what they do, not how fast they do it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import yaml
from operator_stage import REPOSITORY, OperatorStage
from stage_rest import last_words
from vllm_measuring import CARD, Measured, measure
from waiting import until

from argosy_sim.livefleet.runtime.installation import VllmInstallation, find_vllm
from argosy_sim.livefleet.spec import LiveFleetSpec, NodeGroup
from argosy_sim.stage import StagePlan

ASKED_FOR = os.environ.get("ARGOSY_VLLM") == "1"
WORLD = REPOSITORY / "tests" / "data" / "vllm_world" / "world.yaml"
MIDDLEWARE = Path(__file__).parent / "middleware"
LateHealth = Callable[[float], AbstractContextManager[None]]
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
    world = _with_late_health(directory)
    plan = StagePlan(directory, REPOSITORY, examples=str(world), fleet=FLEET, vllm=vllm.folder)
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


def _delay_file(directory: Path) -> Path:
    return directory / "late-health"


def _with_late_health(directory: Path) -> Path:
    """The world, its engines with a middleware of vLLM's that can hold up their answers to /health."""
    objects = list(yaml.safe_load_all(WORLD.read_text()))
    (engine,) = (each["spec"]["engine"] for each in objects if each["kind"] == "ServedModel")
    engine["args"] += ["--middleware", "late_health.LateHealth"]
    engine["env"] += [
        {"name": "PYTHONPATH", "value": str(MIDDLEWARE)},
        {"name": "LATE_HEALTH_FILE", "value": str(_delay_file(directory))},
    ]
    world = directory / "world"
    world.mkdir()
    (world / "world.yaml").write_text(yaml.safe_dump_all(objects))
    return world


@pytest.fixture
def late_health(real_stage: OperatorStage) -> LateHealth:
    """A context in which every engine takes so many seconds to answer /health."""
    file = _delay_file(real_stage.stage.plan.directory)

    @contextmanager
    def late(seconds: float) -> Iterator[None]:
        file.write_text(str(seconds))
        try:
            yield
        finally:
            file.unlink()

    return late


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failed test what the stage was like."""
    outcome = yield
    report = outcome.get_result()
    stage = getattr(item, "funcargs", {}).get("real_stage")
    if report.failed and stage is not None:
        report.sections += [(name, "\n".join(lines)) for name, lines in last_words(stage)]
