"""What the operator's account must be allowed to do, as a table.

Owns the table; a test holds it to the ClusterRole and the Role of the chart. Output: `Permission`s, which a
command asks the API server about one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

from argosy.api.kinds import CUSTOM


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """One verb on one resource. is_own: in the operator's own namespace only; name: of one object only."""

    group: str
    resource: str
    verb: str
    subresource: str = ""
    name: str = ""
    is_own: bool = False

    def __str__(self) -> str:
        sub = f"/{self.subresource}" if self.subresource else ""
        group = f".{self.group}" if self.group else ""
        return f"{self.verb} {self.resource}{group}{sub}" + (f" {self.name}" if self.name else "")


_WATCHED = ("list", "watch")
_OWNED = (*_WATCHED, "create", "patch", "delete")


def _each(group: str, resource: str, verbs: tuple[str, ...], subresource: str = "") -> list[Permission]:
    return [Permission(group, resource, verb, subresource) for verb in verbs]


NEEDED: tuple[Permission, ...] = (
    *(each for plural in CUSTOM for each in _each("argosy.dev", plural, _WATCHED)),
    *(each for plural in CUSTOM for each in _each("argosy.dev", plural, ("patch",), "status")),
    *_each("argosy.dev", "fleetplans", ("get", "create", "delete")),
    *_each("apps", "deployments", _OWNED),
    *_each("apps", "deployments", ("patch",), "scale"),
    *_each("apps", "replicasets", (*_WATCHED, "patch", "delete")),
    *_each("policy", "poddisruptionbudgets", _OWNED),
    *_each("autoscaling", "horizontalpodautoscalers", _WATCHED),
    *_each("", "resourcequotas", _WATCHED),
    *_each("", "limitranges", _WATCHED),
    *_each("", "pods", (*_WATCHED, "patch", "delete")),
    *_each("", "nodes", _WATCHED),
    *_each("", "configmaps", ("get",)),
    *_each("", "namespaces", ("get", *_WATCHED)),
    *_each("", "events", ("create",)),
    *(
        Permission("apiextensions.k8s.io", "customresourcedefinitions", "get", name=f"{plural}.argosy.dev")
        for plural in CUSTOM
    ),
    *(
        Permission("coordination.k8s.io", "leases", verb, is_own=True)
        for verb in ("get", "list", "create", "patch", "delete")
    ),
)
