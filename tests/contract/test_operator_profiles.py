"""A user's own profile, from a ConfigMap that nobody watches, decides the plan."""

from __future__ import annotations

from typing import Any

from operator_stage import OURS, Object, OperatorStage, condition, until, until_equal
from profile_files import a_profile_file

NAMESPACE = "measured"
NAME = "benchmark"


def an_object(kind: str, api_version: str = "argosy.dev/v1alpha1", **parts: Any) -> dict[str, Any]:
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


MODEL = an_object(
    "ServedModel",
    spec={"modelId": "meta-llama/Llama-3.1-8B-Instruct", "profiles": [{"configMap": NAME}]},
)
CLASS = an_object(
    "WorkloadClass",
    spec={
        "match": {"headers": [{"name": "x-argosy-class", "value": NAME}]},
        "models": [{"name": NAME}],
        "traffic": {
            "requestsPerSecond": 0.1,
            "source": "Declared",
            "lengths": {"table": [{"promptTokens": 200, "outputTokens": 24, "weight": 1}]},
        },
        "slo": {"itl": {"p95Milliseconds": 500}},
    },
)
HOME = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def a_config_map(content: bytes) -> dict[str, Any]:
    return an_object("ConfigMap", "v1", data={"profile.json": content.decode()})


def test_a_profile_in_a_config_map_moves_its_model_to_another_pool(stage: OperatorStage) -> None:
    def references() -> tuple[str, str]:
        found = condition(stage.again(MODEL), "ResolvedRefs")
        return found.get("status", ""), found.get("reason", "")

    def pools_in(plan: Object) -> list[str]:
        rows = plan["spec"]["deployments"]
        return [row["pool"] for row in rows if row["sharingGroup"] == f"{NAMESPACE}/{NAME}"]

    def pools() -> list[str]:
        return pools_in(stage.plans()[-1])

    def triggers() -> list[str]:
        """Why the class was first moved, as far as it is about this test's objects."""
        moved = next(plan for plan in stage.plans() if pools_in(plan) == ["h100"])
        # What the earlier tests' load leaves behind may join in.
        return [trigger for trigger in moved["spec"]["trigger"].split("; ") if NAMESPACE in trigger]

    stage.patch("fleet", "default", mode="Recommend", intervals={"mediumSeconds": 5})
    stage.until_observed(f"{OURS}/fleets/default")
    try:
        stage.apply(HOME, MODEL, CLASS)
        until(pools, "the class to be planned for")
        until_equal(("False", "ProfileNotFound"), references, "the missing ConfigMap to be told")
        assert pools() == ["l40s"]

        slow = a_profile_file("llama-3.1-8b", "L40S", slowness=100.0)
        stage.apply(a_config_map(slow))
        until_equal(("True", "ProfileImplausible"), references, "the ConfigMap to be found")
        assert pools() == ["h100"]  # it counts, and it is told how slow it is
        said = condition(stage.again(MODEL), "ResolvedRefs")["message"]
        assert said.startswith("spec.profiles[0]: by this profile of llama-3.1-8b bf16 on L40S TP1, decode ")
        assert "times as long as Argosy's own figures say (MeasuredTable)" in said
        assert triggers() == [f"ConfigMap {NAMESPACE}/{NAME} changed, which holds profiles"]

        stage.apply(a_config_map(slow.replace(b"100.0", b"1.0")))
        until_equal(("False", "ProfileUnusable"), references, "the changed figure to be noticed")
        assert pools() == ["l40s"]
    finally:
        stage.delete(CLASS, MODEL, HOME)
