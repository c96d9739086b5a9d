"""Every rule over several fields, on its Python side; the contract test shows the same table to CEL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rule_cases import CASES, PLACED, patched, rule_cases

from argosy.api import RULES, CustomResource, InvalidObject
from argosy.api.schema.rule import Rule

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("kind", "rule", "patch"), rule_cases("good"))
def test_what_keeps_a_rule_is_read(kind: type[CustomResource], rule: Rule, patch: dict[str, Any]) -> None:
    assert isinstance(kind.from_object(patched(kind, patch)), kind)


@pytest.mark.parametrize(("kind", "rule", "patch"), rule_cases("bad"))
def test_what_breaks_a_rule_is_refused_with_its_message(
    kind: type[CustomResource], rule: Rule, patch: dict[str, Any]
) -> None:
    found = kind.from_object(patched(kind, patch))
    assert isinstance(found, InvalidObject)
    [sentence] = [problem.sentence for problem in found.problems]
    assert sentence == rule.message if rule.found is None else sentence.startswith("spec.engine.args: --")


def test_every_rule_with_a_python_side_has_cases() -> None:
    assert {placed.rule.name for placed in RULES if placed.rule.holds is not None} == set(CASES)


def test_only_the_immutable_plan_is_left_to_the_api_server_alone() -> None:
    assert [p.rule.name for p in RULES if p.rule.holds is None] == ["fleetplan-immutable"]


def test_rule_names_start_with_their_kind_and_have_a_bad_example() -> None:
    for placed in RULES:
        assert placed.rule.name.startswith(placed.kind.KIND.lower())
        if placed.rule.holds is not None:
            assert (ROOT / f"examples/bad/{placed.rule.name}.yaml").exists()


@pytest.mark.parametrize("name", PLACED)
def test_a_message_names_its_field(name: str) -> None:
    assert re.search(r"\b(spec|metadata)\b", PLACED[name].rule.message)


def test_the_table_knows_where_rules_apply() -> None:
    paths = {placed.rule.name: placed.path for placed in RULES}
    assert paths["fleet-name"] == ""
    assert paths["fleetplan-immutable"] == "spec"
    assert paths["servedmodel-reserved-args"] == "spec.engine"
    assert paths["gpupool-toleration-value"] == "spec.tolerations[]"
    assert [p.path for p in RULES if p.rule.name == "workloadclass-slo-order"] == [
        "spec.slo.ttft",
        "spec.slo.itl",
        "spec.slo.e2e",
    ]
