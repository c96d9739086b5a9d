"""Which calls the operator makes of the API server, as the API server of the contract tests records them.

Owns the record in tests/data/operator_calls.txt, one `group/resource verb` per line, and what keeps it: a
stage that ends compares the operator's calls with it. With ARGOSY_REGENERATE=1 it adds what is new; to find
what is not called any more, empty the file before and run all of tests/contract.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from argosy_sim.controlplane.cluster import ControlPlane, ControlPlaneOptions
from argosy_sim.controlplane.components import AUDIT
from argosy_sim.controlplane.host.locks import exclusive

RECORD = Path(__file__).parents[1] / "data" / "operator_calls.txt"
ACCOUNT = "system:serviceaccount:argosy-system:argosy-operator"
AUDITED = ControlPlaneOptions(
    audit_policy=f"""
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["{ACCOUNT}"]
  - level: None
"""
)


def recorded() -> set[str]:
    """The calls that the operator is known to make."""
    return set(RECORD.read_text().splitlines())


def require_recorded(control_plane: ControlPlane) -> None:
    """Fail where the operator made a call that the record does not have; add it where that is asked for."""
    new = set(calls(control_plane.log(AUDIT).read_text().splitlines())) - recorded()
    if new and os.environ.get("ARGOSY_REGENERATE"):
        with exclusive(RECORD.with_suffix(".lock")):
            RECORD.write_text("".join(f"{call}\n" for call in sorted(recorded() | new)))
        return
    assert not new, f"{sorted(new)} are new calls of the operator: run with ARGOSY_REGENERATE=1"


def calls(audit: Iterable[str]) -> Iterator[str]:
    """The calls of an audit log that were allowed."""
    for line in audit:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:  # cut off: the API server was killed
            continue
        resource = event.get("objectRef")
        status = event.get("responseStatus", {}).get("code")
        is_tests_own = event.get("userAgent", "").startswith("kubectl")  # with the operator's credentials
        if resource and status != HTTPStatus.FORBIDDEN and not is_tests_own:
            group, path = resource.get("apiGroup", ""), _path(resource)
            yield call(group, path, event["verb"])
            if event["verb"] == "patch" and status == HTTPStatus.CREATED:  # an apply, which needs both
                yield call(group, path, "create")


def call(group: str, resource: str, verb: str) -> str:
    """One line of the record."""
    return f"{group}/{resource} {verb}" if group else f"{resource} {verb}"


def _path(resource: dict[str, str]) -> str:
    name = resource["resource"]
    return f"{name}/{resource['subresource']}" if resource.get("subresource") else name
