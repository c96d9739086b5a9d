"""Requests that name a LoRA adapter: which classes take them, and which clusters.

Owns the routes of adapters within an entry. Input: an entry, the models of its class, the endpoints that
may serve it. Output: `AdapterRoute`s. A request for an adapter goes only to replicas that hold it; while none
does, it is refused with a sentence that names the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from argosy.api import ServedModel, WorkloadClass
from argosy.keys import DeploymentKey
from argosy.route.table import AdapterRoute, Backend, Endpoint, EndpointState

Endpoints = Mapping[DeploymentKey, Sequence[Endpoint]]


def adapters_of_class(workload: WorkloadClass, models: Iterable[ServedModel]) -> frozenset[str]:
    """The adapters of these models whose requests the class takes: those that it names, or all where it
    names no model."""
    keys = workload.model_keys
    return adapters_named(workload.spec.match.models, [model for model in models if model.key in keys])


def adapters_named(names: Iterable[str], models: Iterable[ServedModel]) -> frozenset[str]:
    """The adapters of these models among `names`; all of them where there are none."""
    asked = frozenset(names)
    known = {adapter.name for model in models for adapter in model.spec.adapters}
    return frozenset(known & asked if asked else known)


def adapter_routes(
    names: Iterable[str],
    endpoints: Endpoints,
    divided: Callable[[Mapping[DeploymentKey, int]], tuple[Backend, ...]],
    for_whom: str,
) -> tuple[AdapterRoute, ...]:
    """One route per adapter, by name.

    divided: the backends of an entry, given how many endpoints each cluster has
    """
    found = []
    for name in sorted(names):
        numbers = {
            cluster: sum(each.state is EndpointState.READY and name in each.adapters for each in its)
            for cluster, its in endpoints.items()
        }
        backends = divided(numbers)
        refusal = (
            f"The LoRA adapter {name} is not loaded on any replica that serves {for_whom};"
            " status.adapters of its ServedModel has the reason. Try again in a few seconds."
        )
        found.append(AdapterRoute(name, backends, "" if backends else refusal))
    return tuple(found)
