"""A dozen LoRA adapters on pods behind a real Envoy: one added, one removed, one that fails; no restart."""

from __future__ import annotations

from typing import Any

from operator_stage import OperatorStage, condition, until, until_equal

HEADERS = {"x-argosy-class": "lora"}
PATH = "/apis/argosy.dev/v1alpha1/namespaces/default/servedmodels/lora"


def lora(*names: str) -> dict[str, Any]:
    return {
        "apiVersion": "argosy.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"name": "lora", "namespace": "default"},
        "spec": {
            "modelId": "meta-llama/Llama-3.1-8B-Instruct",
            "engine": {"maxLoras": 8},
            "adapters": [{"name": name, "source": f"/adapters/{name}", "rank": 8} for name in names],
        },
    }


CLASS: dict[str, Any] = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "WorkloadClass",
    "metadata": {"name": "lora", "namespace": "default"},
    "spec": {
        "match": {"headers": [{"name": "x-argosy-class", "value": "lora"}]},
        "models": [{"name": "lora"}],
        "traffic": {
            "requestsPerSecond": 0.5,
            "source": "Declared",
            "lengths": {"table": [{"promptTokens": 200, "outputTokens": 24, "weight": 1}]},
        },
        "slo": {"ttft": {"p95Milliseconds": 5000}},
        "minReplicas": 2,
    },
}


def states(stage: OperatorStage) -> dict[str, str]:
    status = stage.read(PATH).get("status", {})
    return {each["name"]: each["state"] for each in status.get("adapters", ())}


def starts(stage: OperatorStage) -> set[tuple[str, int]]:
    """The pods of the class, each with the restarts of its engine."""
    return {
        (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in stage.ready_pods("lora")
    }


def asked(stage: OperatorStage, model: str) -> int:
    """The status of an answer of two tokens."""
    return stage.answer(model=model, headers=HEADERS, output_tokens=2).status


def failures(stage: OperatorStage) -> str:
    events = stage.items("/api/v1/namespaces/default/events")
    return " ".join(event["message"] for event in events if event["reason"] == "AdapterFailed")


def test_adapters_come_and_go_while_engines_run_and_one_that_fails_is_named(stage: OperatorStage) -> None:
    dozen = [f"a{number:02}" for number in range(12)]
    try:
        stage.apply(lora(*dozen), CLASS)
        until_equal(dict.fromkeys(dozen, "Loaded"), lambda: states(stage), "a dozen adapters to be loaded")
        until(lambda: len(starts(stage)) == 2, "both replicas to be ready")
        before = starts(stage)
        assert {asked(stage, name) for name in ("lora", *dozen)} == {200}

        changed = [*dozen[1:], "new", "missing"]
        stage.apply(lora(*changed))
        expected = {**dict.fromkeys(changed, "Loaded"), "missing": "Failed"}
        until_equal(expected, lambda: states(stage), "one adapter to be added, and one to fail")
        assert asked(stage, "new") == 200
        assert asked(stage, "missing") == 503
        until(lambda: asked(stage, "a00") == 404, "the removed one to be gone")
        told = condition(stage.read(PATH), "AdaptersReady")
        assert (told["status"], told["reason"]) == ("False", "AdaptersFailed")
        assert "Loading lora missing failed: No adapter found for /adapters/missing" in told["message"]
        until(lambda: "/adapters/missing on pod default/lora-" in failures(stage), "the event that names it")
        assert starts(stage) == before
    finally:
        stage.delete(CLASS, lora(*dozen))
