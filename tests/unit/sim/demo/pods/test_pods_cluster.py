"""What the story changes in a cluster, and that it is all taken back."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from argosy_sim.controlplane.errors import StartError
from argosy_sim.demo.drive import LoadChoice
from argosy_sim.demo.evidence import StaticPeak
from argosy_sim.demo.pods import cluster as cluster_module
from argosy_sim.demo.pods import run as pods_run
from argosy_sim.demo.pods.cluster import PodsCluster
from argosy_sim.demo.pods.run import PodsRun, tell
from argosy_sim.demo.pods.story import pods_story
from argosy_sim.demo.pods.survey import Survey
from argosy_sim.stage import StagePlan

ROOT = Path(__file__).parents[5]
NO_ITEMS = '{"items": []}'


class FakeKubectl:
    """A kubectl that is a shell script: it notes its arguments, and answers by a word among them."""

    def __init__(self, directory: Path) -> None:
        self._calls = directory / "calls"
        self._program = directory / "kubectl"
        self.answer(json=f"echo {shlex.quote(NO_ITEMS)}")

    def answer(self, **cases: str) -> None:
        words = "".join(f"*{word}*) {command};;" for word, command in cases.items())
        self._program.write_text(f'#!/bin/sh\necho "$@" >> {self._calls}\ncase "$*" in {words} esac\n')
        self._program.chmod(0o755)

    @property
    def calls_file(self) -> Path:
        return self._calls

    @property
    def cluster(self) -> PodsCluster:
        return PodsCluster((str(self._program),))

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    monkeypatch.setattr(cluster_module, "LOOK_AGAIN_S", 0.0)
    return FakeKubectl(tmp_path)


def test_a_node_is_taken_away_with_the_pods_that_were_named_and_given_back(kubectl: FakeKubectl) -> None:
    cluster = begun(kubectl)
    cluster.take_node_away("gpu-0", ["chat-1-a", "batch-1-b"])
    assert kubectl.calls[1:] == [
        "label node gpu-0 argosy.dev/demo=pods",
        "cordon gpu-0",
        "delete pods -n argosy-demo --grace-period=1 --wait=false chat-1-a batch-1-b",
    ]
    assert cluster.remove_all((), print) == ()
    assert {"uncordon gpu-0", "label node gpu-0 argosy.dev/demo-"} <= set(kubectl.calls)


def test_removal_takes_what_has_the_label_and_plans_made_since(kubectl: FakeKubectl) -> None:
    # The operator answers the removal of its fleet with one more plan.
    number = f'$(grep -c "^delete fleetplans" {kubectl.calls_file})'
    plans = '{"items": [{"metadata": {"name": "plan-1"}}, {"metadata": {"name": "plan-1%d"}}]}'
    last = '{"items": [{"metadata": {"name": "plan-1"}}]}'
    kubectl.answer(
        name="true",  # what is left, by name
        get=f"n={number}; [ $n -ge 2 ] && echo {shlex.quote(last)} || printf {shlex.quote(plans)} $n",
    )
    assert begun(kubectl).remove_all({"plan-1"}, print) == ()
    removals = [line for line in kubectl.calls if line.startswith(("delete", "uncordon"))]
    assert all("-l argosy.dev/demo=pods" in line for line in removals[:2])
    assert removals[2:] == [
        "delete fleetplans.argosy.dev plan-10 --ignore-not-found",
        "delete fleetplans.argosy.dev plan-11 --ignore-not-found",
    ]


def test_what_cannot_be_removed_is_reported_and_the_rest_still_is(kubectl: FakeKubectl) -> None:
    kubectl.answer(namespace="echo no >&2; exit 1", json=f"echo {shlex.quote(NO_ITEMS)}")
    said: list[str] = []
    left = begun(kubectl).remove_all((), said.append)
    assert left[0].startswith("kubectl delete namespace -l argosy.dev/demo=pods")
    assert left[-1] == "what is left could not be listed"
    assert "not all was removed" in said[0]
    assert any(line.startswith("delete gpupools") for line in kubectl.calls)


def begun(kubectl: FakeKubectl) -> PodsCluster:
    """The cluster with the story's namespace."""
    cluster = kubectl.cluster
    cluster.begin()
    return cluster


@pytest.fixture
def run(kubectl: FakeKubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PodsRun:
    monkeypatch.setattr(pods_run, "static_peak", lambda *_: StaticPeak({}, "not compared"))
    story, not_told = pods_story({"NVIDIA-L40S": [4]}, 1.0)
    survey = Survey("argosy-system", "http://g", (), "image", (), {}, frozenset())
    plan = StagePlan(tmp_path, ROOT)
    return PodsRun(story, not_told, LoadChoice(), plan, "trace", 18.0, survey, kubectl.cluster)


async def test_where_another_demo_has_the_namespace_nothing_is_removed(
    run: PodsRun, kubectl: FakeKubectl
) -> None:
    kubectl.answer(create="echo 'namespaces \"argosy-demo\" already exists' >&2; exit 1")
    with pytest.raises(StartError, match="already exists"):
        await tell(run, print)
    assert [line for line in kubectl.calls if not line.startswith("create")] == []


async def test_ctrl_c_removes_what_was_made(run: PodsRun, kubectl: FakeKubectl) -> None:
    kubectl.answer(watch="exec sleep 60", json=f"echo '{NO_ITEMS}'")
    planned = asyncio.Event()

    def say(line: str) -> None:
        if line.startswith("planning"):
            planned.set()

    task = asyncio.create_task(tell(run, say))
    await planned.wait()
    async with asyncio.timeout(20.0):
        while not any(  # noqa: ASYNC110  (another process writes the file)
            "--watch" in line for line in kubectl.calls
        ):
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert any(line.startswith("delete namespace -l argosy.dev/demo=pods") for line in kubectl.calls)


async def test_a_first_plan_that_is_never_served_is_an_error_with_what_was_seen(
    run: PodsRun, kubectl: FakeKubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods_run, "FIRST_PLAN_S", 0.5)
    kubectl.answer(watch="exec sleep 60", json=f"echo '{NO_ITEMS}'")
    with pytest.raises(StartError, match=r"is not served after 0.5 s: no plan was applied"):
        await tell(run, print)
    assert any(line.startswith("delete namespace -l argosy.dev/demo=pods") for line in kubectl.calls)
