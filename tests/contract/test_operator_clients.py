"""Users' own client, the `openai` SDK, through the Envoy that the operator has configured."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from operator_stage import OperatorStage, until

CHAT = {"x-argosy-class": "chat"}
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me of the sea."}]


@pytest.fixture
def sdk(stage: OperatorStage) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stage.stage.gateway_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "headers"), [("llama-8b", CHAT), ("llama-70b", {})], ids=["by header", "by model"]
)
def test_the_openai_sdk_streams_through_envoy(
    sdk: openai.OpenAI, model: str, headers: dict[str, str]
) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model=model,
            messages=QUESTION,
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=headers,
            extra_body={"ignore_eos": True},
        )
    )
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(texts) == 8
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8
    assert {chunk.model for chunk in chunks} == {model}


def test_the_openai_sdk_gets_a_whole_answer_through_envoy(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model="llama-8b",
        messages=QUESTION,
        max_tokens=8,
        extra_headers=CHAT,
        extra_body={"ignore_eos": True},
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def test_a_model_that_no_class_takes_is_an_openai_404(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        sdk.chat.completions.create(model="nothing", messages=QUESTION)
    assert raised.value.type == "invalid_request_error"
    assert raised.value.code == "no_workload_class"
    assert raised.value.body == {
        "message": "No workload class takes POST /v1/chat/completions with model nothing: the models that"
        " classes take are llama-70b, llama-8b.",
        "type": "invalid_request_error",
        "param": None,
        "code": "no_workload_class",
    }


def test_the_sdk_lists_the_models_that_its_headers_reach(sdk: openai.OpenAI) -> None:
    assert {model.id for model in sdk.models.list(extra_headers=CHAT)} == {"llama-8b", "llama-70b"}
    found = sdk.models.retrieve("llama-70b")
    assert (found.owned_by, found.object) == ("vllm", "model")
    assert found.created > 1_700_000_000, "when the ServedModel was created"


def test_a_class_without_a_replica_is_an_openai_503(stage: OperatorStage, sdk: openai.OpenAI) -> None:
    chat = stage.class_of("chat")
    orphan = {key: chat[key] for key in ("apiVersion", "kind", "spec")}
    orphan["metadata"] = {"name": "orphan", "namespace": "default"}
    orphan["spec"] |= {"match": {"models": ["nothing"]}, "models": [{"name": "ghost"}]}
    try:
        stage.apply(orphan)

        def ask() -> str:
            with pytest.raises(openai.APIStatusError) as raised:
                sdk.chat.completions.create(model="nothing", messages=QUESTION)
            return "" if raised.value.status_code == 404 else str(raised.value.body)

        body = until(ask, "the class to have a route")
    finally:
        stage.delete(orphan)
    assert "server_error" in body
    assert "default/orphan" in body
