"""Which changes of quotas, bounds and Pod Security call for a decision."""

from __future__ import annotations

from typing import Any

import pytest

from argosy.control.triggers import Trigger, trigger_of


def an_object(name: str, namespace: str = "", **parts: Any) -> dict[str, Any]:
    labels = parts.pop("labels", {})
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, **parts}


def a_quota(gpus: int, used: int | None = None) -> dict[str, Any]:
    hard = {"requests.nvidia.com/gpu": str(gpus)}
    status = {} if used is None else {"hard": hard, "used": {"requests.nvidia.com/gpu": str(used)}}
    return an_object("gpus", "n", spec={"hard": hard}, status=status)


def a_namespace(level: str) -> dict[str, Any]:
    return an_object("n", labels={"pod-security.kubernetes.io/enforce": level})


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("resourcequotas", None, a_quota(4), Trigger("ResourceQuota n/gpus was created")),
        ("resourcequotas", a_quota(4), None, Trigger("ResourceQuota n/gpus was deleted")),
        ("resourcequotas", a_quota(4), a_quota(8), Trigger("ResourceQuota n/gpus was changed")),
        ("resourcequotas", a_quota(4, 2), a_quota(4, 3), None),
        (
            "resourcequotas",
            a_quota(4, 3),
            a_quota(4, 2),
            Trigger("ResourceQuota n/gpus counts less than before", is_progress=True),
        ),
        (
            "limitranges",
            an_object("m", "n", spec={"limits": []}),
            None,
            Trigger("LimitRange n/m was deleted", is_progress=True),
        ),
        ("limitranges", an_object("m", "n", spec={}), an_object("m", "n", spec={}, status={"a": 1}), None),
        (
            "namespaces",
            a_namespace("restricted"),
            a_namespace("baseline"),
            Trigger("Pod Security of namespace n was changed", is_progress=True),
        ),
        ("namespaces", a_namespace("baseline"), a_namespace("baseline"), None),
    ],
)
def test_what_admits_pods_triggers_a_decision_when_it_changes(
    kind: str, before: Any, after: Any, expected: Trigger | None
) -> None:
    assert trigger_of(kind, before, after) == expected
