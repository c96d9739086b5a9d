"""The custom resources of Argosy as values: group `argosy.dev`, version `v1alpha1`.

Owns the kinds, their registry, their conditions and the generator of their CRDs; the pydantic models
are the single source of `crds/`. Input: JSON objects. Output: frozen models, or an `InvalidObject`
that names the field at fault.
"""

from argosy.api.crd.resource import API_VERSION, GROUP, VERSION, InvalidObject, ObjectMeta, Resource, Scope
from argosy.api.crd.table import PlacedRule, rules_of
from argosy.api.fleet import Fleet
from argosy.api.fleetplan import FleetPlan
from argosy.api.gpupool import GPUPool
from argosy.api.kinds import REGISTRY
from argosy.api.routerpolicy import RouterPolicy
from argosy.api.servedmodel import ServedModel
from argosy.api.workloadclass import WorkloadClass

KINDS: tuple[type[Resource], ...] = tuple(kind.model for kind in REGISTRY if kind.model is not None)
"""Every custom kind, in the order in which objects refer to each other."""

RULES: tuple[PlacedRule, ...] = tuple(placed for kind in KINDS for placed in rules_of(kind))
"""Every rule over several fields: its path, its CEL, its message, its Python twin."""

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "RULES",
    "VERSION",
    "Fleet",
    "FleetPlan",
    "GPUPool",
    "InvalidObject",
    "ObjectMeta",
    "PlacedRule",
    "Resource",
    "RouterPolicy",
    "Scope",
    "ServedModel",
    "WorkloadClass",
]
