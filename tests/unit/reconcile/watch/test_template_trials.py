"""Pod templates are tried on the API server before they are used: what is asked, and what is believed."""

from __future__ import annotations

import pytest
from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from memory_api_server import Call, MemoryApiServer
from small_fleet import World
from virtual_clock import in_virtual_time

from argosy.control.candidates.variants import templates_to_try
from argosy.errors import ActuationError, NextStep, Obstacle
from argosy.keys import ModelKey
from argosy.kube.api import KindPath, Object
from argosy.reconcile.watch.template_trials import TemplateTrials
from argosy.snapshot.fleet import TemplateKey

KEY: TemplateKey = (ModelKey("default/llama"), "l40s")
PATCH = {"podTemplatePatch": {"spec": {"hostnam": "a"}}}


def tried(**engine: object) -> dict[TemplateKey, dict[str, object]]:
    world = World(some_nodes("l40s", 2), a_fleet(), a_pool(), a_model(engine=engine), a_class())
    return templates_to_try(world.snapshot())


class Judge(MemoryApiServer):
    """Counts what it is asked, and answers as the test says."""

    answer: NextStep | None = None
    num_asked = 0

    def judge(self, call: Call) -> NextStep | None:
        assert (call.verb, call.plural) == ("try", "deployments")
        self.num_asked += 1
        return self.answer


def a_judge(answer: NextStep | None) -> Judge:
    server = Judge()
    server.answer, server.refusal = answer, server.judge
    return server


def test_only_pods_that_a_user_shapes_are_tried() -> None:
    assert tried() == {}
    assert tried(maxNumSeqs=8, args=["--seed=1"]) == {}
    assert list(tried(**PATCH)) == [KEY]
    assert tried(**PATCH)[KEY]["spec"]["replicas"] == 0  # type: ignore[index]


@in_virtual_time
async def test_a_template_that_was_taken_is_not_tried_again_until_it_changes() -> None:
    server = a_judge(None)
    trials = TemplateTrials(server)
    for _ in range(3):
        await trials.refresh(tried(**PATCH))
    assert (trials.refusals, server.num_asked) == ({}, 1)
    assert server.of("deployments") == {}
    await trials.refresh(tried(priorityClassName="high"))
    assert server.num_asked == 2


@in_virtual_time
async def test_a_template_that_is_refused_is_tried_before_every_decision_until_it_is_taken_or_gone() -> None:
    server = a_judge(NextStep.GIVE_UP)
    trials = TemplateTrials(server)
    await trials.refresh(tried(**PATCH))
    await trials.refresh(tried(**PATCH))
    assert (list(trials.refusals), server.num_asked) == ([KEY], 2)
    server.answer = None
    await trials.refresh(tried(**PATCH))
    assert trials.refusals == {}
    server.answer = NextStep.GIVE_UP
    await trials.refresh(tried(priorityClassName="high"))
    await trials.refresh({})
    assert trials.refusals == {}


@in_virtual_time
async def test_while_the_api_server_does_not_answer_the_last_verdict_holds() -> None:
    server = a_judge(NextStep.RETRY)
    trials = TemplateTrials(server)
    await trials.refresh(tried(**PATCH))
    assert trials.refusals == {}, "what was never tried is not refused"
    server.answer = NextStep.GIVE_UP
    await trials.refresh(tried(**PATCH))
    server.answer = NextStep.RETRY
    await trials.refresh(tried(**PATCH))
    assert list(trials.refusals) == [KEY]


class Answering(MemoryApiServer):
    """Refuses with an answer of the API server's."""

    def __init__(self, error: ActuationError) -> None:
        super().__init__()
        self.error = error

    async def try_create(self, kind: KindPath, body: Object) -> Object:
        raise self.error


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (ActuationError("400 strict decoding error", NextStep.GIVE_UP, status=400), True),
        (ActuationError("already exists", NextStep.REPLAN, status=409), False),
        (ActuationError('400 webhook "w" does not support dry run', NextStep.GIVE_UP, status=400), False),
        (ActuationError("no namespace", NextStep.GIVE_UP, Obstacle.NAMESPACE_MISSING, 404), False),
        (ActuationError("may not create", NextStep.RETRY, Obstacle.FORBIDDEN, 403), False),
    ],
    ids=lambda value: str(value) if isinstance(value, ActuationError) else "",
)
@in_virtual_time
async def test_only_an_answer_about_the_template_itself_refuses_it(
    error: ActuationError, is_refused: bool
) -> None:
    trials = TemplateTrials(Answering(error))
    await trials.refresh(tried(**PATCH))
    assert (KEY in trials.refusals) is is_refused
