"""Keys: what names one thing, with a type for each kind of thing.

Owns the identities that objects, routes, plans and Deployments share: a class, a model, a sharing
group, a route cell and a Deployment are all `namespace/name` on the wire, and none may stand for
another. Input: a namespace and a name, or the joined text. Output: a key.

A key is a string, so that it is its own JSON, label and metric label, and sorts and prints as users
see it. Each kind is a subclass, so that mypy refuses one where another is wanted and, by
`strict_equality`, a comparison of two kinds; a dataclass's generated `__eq__` would hide the latter.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_NAMESPACE_LIMIT, _NAME_LIMIT = 63, 253
"""Kubernetes' bounds on the length of a namespace's name and of an object's."""


class NamespacedName(str):
    """`namespace/name`, immutable; everything after the first slash is the name.

    Text without a slash is a name without a namespace, as cluster-scoped objects have it.
    """

    __slots__ = ()
    MAX_LENGTH: ClassVar[int] = _NAMESPACE_LIMIT + 1 + _NAME_LIMIT

    @classmethod
    def of(cls, namespace: str, name: str) -> Self:
        """The key of `name` in `namespace`."""
        return cls(f"{namespace}/{name}" if namespace else name)

    @property
    def namespace(self) -> str:
        """The part before the slash; empty where there is none."""
        return self.partition("/")[0] if "/" in self else ""

    @property
    def name(self) -> str:
        """The part after the first slash, or all of it where there is none."""
        return self.partition("/")[2] if "/" in self else str(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A bounded string in JSON and in a CRD, the key itself in Python."""
        text = core_schema.str_schema(min_length=1, max_length=cls.MAX_LENGTH)
        return core_schema.no_info_after_validator_function(
            cls, text, serialization=core_schema.to_string_ser_schema()
        )


class ClassKey(NamespacedName):
    """A WorkloadClass."""

    __slots__ = ()


class ModelKey(NamespacedName):
    """A ServedModel."""

    __slots__ = ()


class GroupName(NamespacedName):
    """A sharing group: the classes that share replicas. It lives where its Deployments do."""

    __slots__ = ()

    @classmethod
    def of_class(cls, workload_class: ClassKey) -> GroupName:
        """The group of a class that shares its replicas with no other."""
        return cls(workload_class)


class DeploymentKey(NamespacedName):
    """A Deployment that Argosy made; also an option of the planner and a cluster of Envoy."""

    __slots__ = ()


class CellName(NamespacedName):
    """A route cell: what Envoy can tell apart before the first byte.

    `namespace/class`, or `namespace/class/band` where a class is cut into bands. A text that is too
    long for a FleetPlan ends in a hash of the whole: which class a cell belongs to is
    `control.cells`'s business and is never read from its name.
    """

    __slots__ = ()
    MAX_LENGTH: ClassVar[int] = 256
    """As for any short text of a FleetPlan, to keep 512 cells within what etcd takes."""

    @classmethod
    def of_class(cls, workload_class: ClassKey, band: str = "") -> CellName:
        """The cell of a class's `band`, or of the whole class."""
        text = f"{workload_class}/{band}" if band else str(workload_class)
        if len(text) <= cls.MAX_LENGTH:
            return cls(text)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return cls(f"{text[: cls.MAX_LENGTH - len(digest) - 1]}-{digest}")
