"""What the virtual kubelet reports of a pod in each state of its life."""

from __future__ import annotations

from typing import Any

import pytest

from argosy_sim.livefleet.kubelet.pod_status import Exit, Phase, PodCondition, status_patch

POD: dict[str, Any] = {
    "spec": {
        "initContainers": [{"name": "fetch", "image": "f:1"}],
        "containers": [{"name": "engine", "image": "v:1"}, {"name": "sidecar", "image": "s:1"}],
    }
}
CRASH = Exit(137, "Error", "the engine core died", "2026-01-01T00:01:00Z")


def reported(phase: Phase, restarts: int = 0, last_exit: Exit | None = None) -> dict[str, Any]:
    now = PodCondition(
        phase, "127.10.1.1", "2026-01-01T00:00:00Z", "2026-01-01T00:02:00Z", "engine", restarts, last_exit
    )
    return status_patch(POD, now)


@pytest.mark.parametrize(
    ("phase", "restarts", "last_exit", "expected"),
    [
        pytest.param(
            Phase.CREATING, 0, None, ("Pending", "False", "waiting"), id="loading for the first time"
        ),
        pytest.param(Phase.RUNNING, 0, None, ("Running", "True", "running"), id="serving"),
        pytest.param(Phase.BACK_OFF, 0, CRASH, ("Running", "False", "waiting"), id="crashed, waiting"),
        pytest.param(Phase.CREATING, 1, CRASH, ("Running", "False", "waiting"), id="loading once more"),
        pytest.param(Phase.RUNNING, 1, CRASH, ("Running", "True", "running"), id="serving again"),
        pytest.param(Phase.FAILED, 0, CRASH, ("Failed", "False", "terminated"), id="not to be restarted"),
    ],
)
def test_phase_readiness_and_state_agree(
    phase: Phase, restarts: int, last_exit: Exit | None, expected: tuple[str, str, str]
) -> None:
    status = reported(phase, restarts, last_exit)
    ready = {each["type"]: each["status"] for each in status["conditions"]}
    engine = status["containerStatuses"][0]
    assert (status["phase"], ready["Ready"], *engine["state"]) == expected
    assert ready["ContainersReady"] == ready["Ready"]
    assert engine["ready"] == engine["started"] == (ready["Ready"] == "True")
    assert engine["restartCount"] == restarts


def test_a_crash_is_reported_as_the_last_state_and_while_waiting() -> None:
    engine = reported(Phase.BACK_OFF, 2, CRASH)["containerStatuses"][0]
    assert engine["state"]["waiting"] == {"reason": "CrashLoopBackOff", "message": "the engine core died"}
    assert engine["lastState"]["terminated"]["exitCode"] == 137


def test_a_condition_that_becomes_true_loses_its_reason() -> None:
    # A patch merges: what is not set to null stays from before.
    ready = next(each for each in reported(Phase.RUNNING)["conditions"] if each["type"] == "Ready")
    assert ready["reason"] is None
    assert ready["lastTransitionTime"] == "2026-01-01T00:02:00Z"


def test_init_containers_are_done_and_sidecars_run() -> None:
    status = reported(Phase.RUNNING)
    assert status["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    assert status["containerStatuses"][1]["state"] == {"running": {"startedAt": "2026-01-01T00:02:00Z"}}
