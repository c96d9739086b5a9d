"""Requests that name a LoRA adapter: which classes take them, and which clusters.

Owns the routes of adapters within an entry. Input: an entry, the models of its class, the endpoints that
may serve it. Output: `AdapterRoute`s. A request for an adapter goes only to replicas that hold it. While
those are not ready or not healthy, it waits, as requests of classes do (`xds.waiting`), also for another
replica that loads it meanwhile; while none holds it, it is refused with a sentence that names the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from argosy.api import ServedModel, WorkloadClass
from argosy.keys import DeploymentKey
from argosy.route.table import AdapterRoute, Backend, Endpoint, EndpointState, RouteEntry

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
        backends = divided(_holders(name, endpoints, EndpointState.READY))
        if not backends:
            backends = _the_one_to_wait_in(divided(_holders(name, endpoints, EndpointState.NOT_READY)))
        refusal = (
            f"The LoRA adapter {name} is not loaded on any replica that serves {for_whom};"
            " status.adapters of its ServedModel has the reason. Try again in a few seconds."
        )
        found.append(AdapterRoute(name, backends, "" if backends else refusal))
    return tuple(found)


def waiting_adapters(routes: Iterable[RouteEntry]) -> dict[DeploymentKey, tuple[str, ...]]:
    """By cluster the adapters that no route sends to another one. Where another one may take them, a try that
    fails goes there instead of waiting."""
    clusters: dict[str, set[DeploymentKey]] = {}
    for adapter in (each for route in routes for each in route.adapters):
        clusters.setdefault(adapter.name, set()).update(backend.cluster for backend in adapter.backends)
    found: dict[DeploymentKey, list[str]] = {}
    for name, its in sorted(clusters.items()):
        if len(its) == 1:
            found.setdefault(min(its), []).append(name)
    return {cluster: tuple(names) for cluster, names in found.items()}


def _holders(name: str, endpoints: Endpoints, state: EndpointState) -> dict[DeploymentKey, int]:
    """How many endpoints of each cluster hold an adapter and are in this state."""
    return {
        cluster: sum(each.state is state and name in each.adapters for each in its)
        for cluster, its in endpoints.items()
    }


def _the_one_to_wait_in(backends: Sequence[Backend]) -> tuple[Backend, ...]:
    """The cluster with the largest share: a request waits in one."""
    return tuple(
        replace(each, share=1.0) for each in sorted(backends, key=lambda b: (-b.share, b.cluster))[:1]
    )
