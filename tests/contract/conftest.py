"""The operator's stage, shared by every test that asks for `stage`.

It starts with the first of them and ends after the last one that follows without a gap: nothing of
it runs beside the tests that come later. Before each test it is put back to rest.
"""

from __future__ import annotations

import sys

import pytest
from operator_stage import OperatorStage, Say

from argosy_sim.controlplane.binaries import binaries

_RUNNING = pytest.StashKey[OperatorStage]()
_STARTED = pytest.StashKey[bool]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build missing programs before the first test: inside one, its time limit would count."""
    if any(_uses_stage(item) for item in session.items) and not session.config.option.collectonly:
        binaries(lambda line: print(line, file=sys.stderr))  # noqa: T201


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if not _uses_stage(nextitem):
        running = item.config.stash.get(_RUNNING, None)
        if running is not None:
            del item.config.stash[_RUNNING], item.config.stash[_STARTED]
            running.close()


def _uses_stage(item: pytest.Item | None) -> bool:
    return "stage" in getattr(item, "fixturenames", ())


@pytest.fixture
def stage(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> OperatorStage:
    running = pytestconfig.stash.get(_RUNNING, None)
    if running is None:
        if pytestconfig.stash.get(_STARTED, False):
            pytest.fail("the stage has not come up, or not come to rest, before: that error says why")
        pytestconfig.stash[_STARTED] = True
        running = OperatorStage.start(tmp_path_factory.mktemp("stage"))
        pytestconfig.stash[_RUNNING] = running
    else:
        running.restore()
    return running


@pytest.fixture
def say(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> Say:
    """Print a measured figure past the capture, with the test's result."""
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def told(line: str) -> None:
        with capsys.disabled():
            if reporter is None:  # one of several processes, which has no terminal of its own
                print(f"\n  {line}", file=sys.__stderr__, flush=True)
            else:
                reporter.write_line(f"\n  {line}")

    return told
