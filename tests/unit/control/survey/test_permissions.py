"""The permissions that `argosy doctor` asks about are of the operator's role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from argosy.control.survey.permissions import NEEDED, Permission

RBAC = Path(__file__).parents[4] / "charts" / "argosy" / "files" / "operator-rbac.yaml"


def granted(rules: list[Mapping[str, Any]], *, is_own: bool) -> Iterator[Permission]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                name, _, subresource = resource.partition("/")
                for verb in rule["verbs"]:
                    for one in rule.get("resourceNames", [""]):
                        yield Permission(group, name, verb, subresource, one, is_own)


def test_the_role_gives_every_permission_of_the_table_which_has_all_its_resources() -> None:
    documents = list(yaml.safe_load_all(RBAC.read_text()))
    (cluster_role,) = (d for d in documents if d["kind"] == "ClusterRole")
    (role,) = (d for d in documents if d["kind"] == "Role")
    given = {*granted(cluster_role["rules"], is_own=False), *granted(role["rules"], is_own=True)}
    assert set(NEEDED) - given == set()
    assert len(NEEDED) == len(set(NEEDED))

    def resources(permissions: Iterable[Permission]) -> set[tuple[str, str, str]]:
        return {(p.group, p.resource, p.subresource) for p in permissions}

    assert resources(NEEDED) == resources(given)
