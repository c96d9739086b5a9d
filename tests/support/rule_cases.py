"""The cases of `tests/data/api_rule_cases.yaml`, for Python (tests/unit) and for CEL (tests/contract).

Owns their reading. Input: "good" or "bad". Output: pytest parameters (kind, rule, patch), and a valid
object with a patch applied.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from argosy.api import RULES, CustomResource

ROOT = Path(__file__).parents[2]
CASES: dict[str, Any] = yaml.safe_load((ROOT / "tests/data/api_rule_cases.yaml").read_text("utf-8"))
PLACED = {placed.rule.name: placed for placed in RULES}
VALID: dict[str, dict[str, Any]] = {
    obj["kind"]: obj
    for path in sorted((ROOT / "examples/small").glob("*.yaml"))
    for obj in yaml.safe_load_all(path.read_text("utf-8"))
}
"""A valid object of each kind that users write."""


def rule_cases(good_or_bad: str) -> list[Any]:
    """One parameter per case: the rule's kind, the rule, the patch."""
    return [
        pytest.param(PLACED[name].kind, PLACED[name].rule, patch, id=f"{name}-{number}")
        for name, by_verdict in CASES.items()
        for number, patch in enumerate(by_verdict[good_or_bad])
    ]


def patched(kind: type[CustomResource], patch: dict[str, Any]) -> dict[str, Any]:
    """The valid object of `kind` with the value at each dotted path replaced."""
    obj = copy.deepcopy(VALID[kind.KIND])
    for path, value in patch.items():
        *parents, last = path.split(".")
        node = obj
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = copy.deepcopy(value)
    return obj
