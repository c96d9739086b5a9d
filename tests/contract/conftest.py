"""The operator's stage, shared by every test that asks for `stage`, and how several processes share the work.

The stage starts with the first of them and ends after the last one that follows without a gap: nothing of
it runs beside the tests that come later. Before each test it is put back to rest.

With `pytest -n 4` each process has a stage of its own, and all take from one queue: first the long files,
then the tests of the stage one by one, then the short files. A file without the stage stays in one process:
its tests may share a world.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from api_calls import require_recorded
from charts import Helm
from operator_stage import OperatorStage
from stage_rest import last_words
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from argosy_sim.controlplane.binaries import binaries
from argosy_sim.controlplane.binaries import helm as find_helm
from argosy_sim.controlplane.binaries import prometheus as find_prometheus

LONG_FILES = (
    "test_story",
    "test_faults",
    "test_first_hour",
    "test_virtual_kubelet",
    "test_operator_orders",
    "test_envoy_deaths",
    "test_telemetry",
)
"""Files without the stage that take longest, longest first: a run is as long as what begins last."""
AFTER_STAGE = "test_controlplane"
"""It promises how fast a control plane starts: not while others start theirs."""

WITH_PROMETHEUS = ("test_prometheus_rules", "test_prometheus_stage")

_RUNNING = pytest.StashKey[OperatorStage]()
_STARTS = pytest.StashKey[int]()

MOST_STARTS = 2
"""Of a stage that does not come up: each costs the test that asked for it, and minutes."""


class Queue(LoadScopeScheduling):
    """What a process takes at a time: a file, of the operator's tests a single one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if Path(file).name.startswith("test_operator_") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Queue:
    """In the order of the tests: by itself xdist begins with the files that have most."""
    config.option.loadscopereorder = False
    return Queue(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in the queue's order."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if _uses_stage(item):
        return len(LONG_FILES)
    if item.path.stem in LONG_FILES:
        return LONG_FILES.index(item.path.stem)
    return len(LONG_FILES) + (1 if item.path.stem == AFTER_STAGE else 2)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build missing programs before the first test: inside one, its time limit would count."""
    if any(_uses_stage(item) for item in session.items) and not session.config.option.collectonly:
        binaries(_to_stderr)
    if any("helm" in _fixtures(item) for item in session.items) and not session.config.option.collectonly:
        find_helm(_to_stderr)
    if (
        any(item.path.stem in WITH_PROMETHEUS for item in session.items)
        and not session.config.option.collectonly
    ):
        find_prometheus(_to_stderr)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if not _uses_stage(nextitem):
        running = item.config.stash.get(_RUNNING, None)
        if running is not None:
            del item.config.stash[_RUNNING], item.config.stash[_STARTS]
            control_plane = running.stage.control_plane
            running.close()
            require_recorded(control_plane)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failed test what the stage was like: elsewhere, its files are gone with the machine."""
    outcome = yield
    report = outcome.get_result()
    running = item.config.stash.get(_RUNNING, None)
    if report.failed and running is not None and _uses_stage(item):
        report.sections += [(name, "\n".join(lines)) for name, lines in last_words(running)]


def _uses_stage(item: pytest.Item | None) -> bool:
    return "stage" in _fixtures(item)


def _fixtures(item: pytest.Item | None) -> Collection[str]:
    return getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """helm without a cluster."""
    return Helm(find_helm(), tmp_path_factory.mktemp("helm"))


@pytest.fixture
def stage(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> OperatorStage:
    running = pytestconfig.stash.get(_RUNNING, None)
    if running is None:
        starts = pytestconfig.stash.get(_STARTS, 0)
        if starts == MOST_STARTS:
            pytest.fail("the stage has not come up, or not come to rest, before: those errors say why")
        pytestconfig.stash[_STARTS] = starts + 1
        running = OperatorStage.start(tmp_path_factory.mktemp("stage"))
        pytestconfig.stash[_RUNNING] = running
    else:
        running.restore()
    return running
