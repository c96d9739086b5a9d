"""Owns the API calls that only an attached fleet makes. None retries.

As in `kubelet.kube_api`: dictionaries in and out, `ApiRefusedError` for a refusal, `ObservationError` where
no API server answers.
"""

from __future__ import annotations

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes.aio import client

from argosy_sim.livefleet.kubelet.kube_api import APPLY, TIMEOUT_S, ApiRefusedError, Object, answer
from argosy_sim.livefleet.kubelet.nodes import LEASE_NAMESPACE

TRIAL_NAMESPACE = "default"
_LIMIT: dict[str, Any] = {"_request_timeout": TIMEOUT_S}


class ClusterApi:
    """The cluster's objects, as the kubeconfig's user."""

    def __init__(self, connections: client.ApiClient) -> None:
        self._core = client.CoreV1Api(connections)
        self._apps = client.AppsV1Api(connections)
        self._leases = client.CoordinationV1Api(connections)
        self._networking = client.NetworkingV1Api(connections)

    async def nodes(self, selector: str = "") -> list[Object]:
        """All nodes with these labels."""
        call = self._core.list_node_without_preload_content
        return _items(await answer(call(label_selector=selector, **_LIMIT)))

    async def services(self) -> list[Object]:
        """All Services."""
        call = self._core.list_service_for_all_namespaces_without_preload_content
        return _items(await answer(call(**_LIMIT)))

    async def service_cidrs(self) -> list[Object]:
        """The ServiceCIDRs; none where the cluster is older than the kind (1.33)."""
        call = self._networking.list_service_cidr_without_preload_content
        return _items(await _found(call(**_LIMIT)) or {})

    async def kubeadm(self) -> Object | None:
        """The ConfigMap with kubeadm's settings; None where the cluster was made otherwise."""
        call = self._core.read_namespaced_config_map_without_preload_content
        return await _found(call("kubeadm-config", "kube-system", **_LIMIT))

    async def kube_proxy(self) -> Object | None:
        """The DaemonSet of kube-proxy; None where there is none."""
        call = self._apps.read_namespaced_daemon_set_without_preload_content
        return await _found(call("kube-proxy", "kube-system", **_LIMIT))

    async def make_trial_pod(self, pod: Object) -> None:
        """Create a pod of the trial."""
        call = self._core.patch_namespaced_pod_without_preload_content
        await answer(call(pod["metadata"]["name"], TRIAL_NAMESPACE, pod, **APPLY))

    async def trial_pods(self, selector: str) -> list[Object]:
        """The pods of a trial."""
        call = self._core.list_namespaced_pod_without_preload_content
        return _items(await answer(call(TRIAL_NAMESPACE, label_selector=selector, **_LIMIT)))

    async def remove_trial_pods(self, selector: str) -> None:
        """Delete the pods of a trial at once."""
        call = self._core.delete_collection_namespaced_pod_without_preload_content
        await answer(call(TRIAL_NAMESPACE, label_selector=selector, grace_period_seconds=0, **_LIMIT))

    async def remove_node(self, name: str) -> None:
        """Delete a Node and its Lease."""
        await _found(self._core.delete_node_without_preload_content(name, **_LIMIT))
        call = self._leases.delete_namespaced_lease_without_preload_content
        await _found(call(name, LEASE_NAMESPACE, **_LIMIT))


def _items(answered: Object) -> list[Object]:
    found: list[Object] = answered.get("items") or []
    return found


async def _found(call: Awaitable[aiohttp.ClientResponse]) -> Object | None:
    """What a call answers, None where it is not there."""
    try:
        return await answer(call)
    except ApiRefusedError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None
