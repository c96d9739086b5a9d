"""Whether a refused call is worth another try."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from argosy.errors import ObservationError
from argosy_sim.livefleet.kubelet import kube_api
from argosy_sim.livefleet.kubelet.kube_api import ApiRefusedError, persist


def answering(*refusals: Exception) -> tuple[list[int], Callable[[], Awaitable[None]]]:
    """An API server that refuses so often and then agrees; and how often it was called."""
    calls: list[int] = []

    async def call() -> None:
        calls.append(1)
        if len(calls) <= len(refusals):
            raise refusals[len(calls) - 1]

    return calls, call


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_api, "_RETRY_S", 0.0)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(ObservationError("refused connection"), id="it is away"),
        pytest.param(ApiRefusedError(403, "forbidden"), id="it has not read its roles yet"),
        pytest.param(ApiRefusedError(401, "who"), id="it has not read its accounts yet"),
        pytest.param(ApiRefusedError(429, "later"), id="it is busy"),
        pytest.param(ApiRefusedError(503, "etcd"), id="it has lost its etcd"),
    ],
)
async def test_what_will_pass_is_tried_again(refusal: Exception) -> None:
    calls, call = answering(refusal, refusal)
    assert await persist(call)
    assert len(calls) == 3


@pytest.mark.parametrize("status", [404, 409], ids=["the pod is gone", "another pod has its name"])
async def test_a_pod_that_is_gone_is_an_answer(status: int) -> None:
    calls, call = answering(ApiRefusedError(status, "no"))
    assert not await persist(call)
    assert len(calls) == 1


async def test_a_right_that_stays_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_api, "_STARTING_S", 0.0)
    with pytest.raises(ApiRefusedError, match="the API server answered 403: forbidden"):
        await persist(answering(ApiRefusedError(403, "forbidden"))[1])


async def test_an_invalid_object_is_an_error_at_once() -> None:
    with pytest.raises(ApiRefusedError):
        await persist(answering(ApiRefusedError(422, "invalid"))[1])
