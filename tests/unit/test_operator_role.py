"""The operator's permissions are the calls that it makes, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from api_calls import call, calls, recorded

FILES = Path(__file__).parents[2] / "charts" / "argosy" / "files"
GRANTED_BY_KUBERNETES = {
    "authorization.k8s.io/selfsubjectaccessreviews create",
}
"""What every account may do (system:basic-user)."""
RARE = {
    # A revision that a watch has not reported: two leaders within a second.
    "argosy.dev/fleetplans get",
    # Engines whose Deployment was deleted without them, where no plan wants them back.
    "apps/replicasets delete",
}
"""Calls that no contract test calls forth; those of tests/unit/reconcile do."""


def granted() -> set[str]:
    rules = [
        rule
        for file in ("operator-rbac.yaml", "certificates-rbac.yaml")
        for document in yaml.safe_load_all((FILES / file).read_text())
        for rule in document.get("rules", ())
    ]
    return {
        call(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_every_permission_of_the_operator_is_used_in_the_contract_tests() -> None:
    assert sorted(granted() - recorded() - RARE) == []


def test_every_call_of_the_operator_is_permitted() -> None:
    assert sorted(recorded() - granted() - GRANTED_BY_KUBERNETES) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param(
            '{"verb": "patch", "objectRef": {"resource": "fleets", "subresource": "status",'
            ' "apiGroup": "argosy.dev"}}',
            ["argosy.dev/fleets/status patch"],
            id="a part of an object",
        ),
        pytest.param(
            '{"verb": "list", "objectRef": {"resource": "pods"}, "responseStatus": {"code": 200}}',
            ["pods list"],
            id="of the core group",
        ),
        pytest.param(
            '{"verb": "list", "objectRef": {"resource": "secrets"}, "responseStatus": {"code": 403}}',
            [],
            id="refused: it is no permission that is used",
        ),
        pytest.param(
            '{"verb": "patch", "objectRef": {"resource": "pods"}, "responseStatus": {"code": 201}}',
            ["pods patch", "pods create"],
            id="an apply that creates",
        ),
        pytest.param(
            '{"verb": "get", "objectRef": {"resource": "pods"}, "userAgent": "kubectl/v1.36.3"}',
            [],
            id="of a test in the operator's name",
        ),
        pytest.param('{"verb": "get", "requestURI": "/version"}', [], id="no resource"),
        pytest.param('{"verb": "li', [], id="cut off"),
    ],
)
def test_a_call_is_what_the_api_server_records(line: str, found: list[str]) -> None:
    assert list(calls([line])) == found
