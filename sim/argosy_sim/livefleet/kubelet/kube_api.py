"""Owns the API calls of the live fleet. Only `persist` retries.

Plain dictionaries in and out: the generated models of the official client cost a millisecond
an object, and every change of every pod passes here. Refusals are `ApiRefusedError`; an API
server that cannot be reached raises `ObservationError`, so that callers wait and try again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio import client, config

from argosy.errors import ActuationError, NextStep, ObservationError, SpecError
from argosy.keys import NamespacedName

Object = dict[str, Any]

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
TIMEOUT_S = 10.0
# Ends a watch whose connection died silently; the next one starts where it ended.
_WATCH_S = 240
_RETRY_S = 0.3
# Server-side apply makes what is absent. The client's `create` calls would parse times on the
# way, and MicroTime does not survive that.
APPLY: dict[str, Any] = {
    "_content_type": "application/apply-patch+yaml",
    "field_manager": "argosy-virtual-kubelet",
    "force": True,
    "_request_timeout": TIMEOUT_S,
}


class ApiRefusedError(ActuationError):
    """The API server understood and said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API server answered {status}: {message}", NextStep.GIVE_UP)
        self.status = status


@dataclass(frozen=True, slots=True)
class PodName:
    """A pod, and which of all pods that ever had this name."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, pod: Object) -> PodName:
        """Return the name of a pod object."""
        metadata = pod["metadata"]
        return cls(metadata["namespace"], metadata["name"], metadata["uid"])

    def __str__(self) -> str:
        return NamespacedName.of(self.namespace, self.name)


class KubeApi:
    """One connection pool to one API server, as the kubeconfig's user."""

    def __init__(self, api_client: client.ApiClient) -> None:
        self._client = api_client
        self._core = client.CoreV1Api(api_client)
        self._leases = client.CoordinationV1Api(api_client)

    @classmethod
    async def connect(cls, kubeconfig: Path) -> KubeApi:
        """Read a kubeconfig; nothing is sent yet. Raises SpecError where it cannot be used."""
        settings = client.Configuration()
        load: Any = config.load_kube_config  # carries no types upstream
        try:
            await asyncio.to_thread(kubeconfig.read_bytes)  # a file that is not there would be an empty one
            await load(config_file=str(kubeconfig), client_configuration=settings)
        except (OSError, ValueError, yaml.YAMLError, config.ConfigException) as error:
            raise SpecError(f"{kubeconfig} cannot be used: {error}", "--kubeconfig") from error
        return cls(client.ApiClient(settings))

    @property
    def connections(self) -> client.ApiClient:
        """The connections, for calls of another group."""
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        close: Any = self._client.close  # carries no types upstream
        await close()

    # Nodes.

    async def apply_node(self, node: Object) -> Object:
        """Create a Node, or bring its labels and taints up to date; returns it as it is then."""
        call = self._core.patch_node_without_preload_content
        return await answer(call(node["metadata"]["name"], node, **APPLY))

    async def delete_node(self, name: str) -> None:
        """Delete a Node."""
        call = self._core.delete_node_without_preload_content
        await answer(call(name, _request_timeout=TIMEOUT_S))

    async def patch_node_status(self, name: str, status: Object) -> None:
        """Set fields of a Node's status."""
        call = self._core.patch_node_status_without_preload_content
        await answer(call(name, {"status": status}, _content_type=STRATEGIC, _request_timeout=TIMEOUT_S))

    async def renew_lease(self, lease: Object) -> None:
        """Renew a Lease, or create it where there is none."""
        name, namespace = lease["metadata"]["name"], lease["metadata"]["namespace"]
        call = self._leases.patch_namespaced_lease_without_preload_content
        renewal = {"spec": lease["spec"]}
        try:
            await answer(call(name, namespace, renewal, _content_type=MERGE, _request_timeout=TIMEOUT_S))
        except ApiRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            await answer(call(name, namespace, lease, **APPLY))

    # Pods.

    async def list_bound_pods(self) -> tuple[list[Object], str]:
        """Return all pods that are bound to any node, and the version to watch from."""
        call = self._core.list_pod_for_all_namespaces_without_preload_content
        found = await answer(call(field_selector="spec.nodeName!=", _request_timeout=TIMEOUT_S))
        return found["items"], found["metadata"]["resourceVersion"]

    async def list_unbound_pods(self) -> list[Object]:
        """Return all pods that are bound to no node."""
        call = self._core.list_pod_for_all_namespaces_without_preload_content
        found = await answer(call(field_selector="spec.nodeName=", _request_timeout=TIMEOUT_S))
        items: list[Object] = found["items"]
        return items

    async def watch_bound_pods(self, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Yield (ADDED|MODIFIED|DELETED|BOOKMARK|ERROR, object) until the watch ends, as each does."""
        call = self._core.list_pod_for_all_namespaces_without_preload_content
        response = await _reached(
            call(
                field_selector="spec.nodeName!=",
                resource_version=version,
                watch=True,
                allow_watch_bookmarks=True,
                timeout_seconds=_WATCH_S,
                _request_timeout=_WATCH_S + 30.0,
            )
        )
        try:
            await _require_success(response)
            while line := await _reached(response.content.readline()):
                event = json.loads(line)
                yield event["type"], event["object"]
        finally:
            response.close()

    async def patch_pod_status(self, pod: PodName, status: Object) -> None:
        """Set fields of a pod's status; refused with CONFLICT if another pod has the name now."""
        call = self._core.patch_namespaced_pod_status_without_preload_content
        body = {"metadata": {"uid": pod.uid}, "status": status}
        sent = call(pod.name, pod.namespace, body, _content_type=STRATEGIC, _request_timeout=TIMEOUT_S)
        await answer(sent)

    async def remove_pod(self, pod: PodName) -> None:
        """Delete a pod object at once: what a kubelet does when the last container has ended."""
        call = self._core.delete_namespaced_pod_without_preload_content
        same = client.V1Preconditions(uid=pod.uid)
        options = client.V1DeleteOptions(grace_period_seconds=0, preconditions=same)
        await answer(call(pod.name, pod.namespace, body=options, _request_timeout=TIMEOUT_S))


async def persist(call: Callable[[], Awaitable[None]]) -> bool:
    """Call until the API server takes it; False if the object is gone (or another has its name).

    Raises `ApiRefusedError` for what it will refuse again, such as a missing right.
    """
    patience_ends_s = asyncio.get_running_loop().time() + _STARTING_S
    while True:
        try:
            await call()
        except ObservationError:
            await asyncio.sleep(_RETRY_S)
        except ApiRefusedError as error:
            if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                return False
            is_patient = asyncio.get_running_loop().time() < patience_ends_s
            if not _is_transient(error.status) and not (is_patient and error.status in _WHILE_STARTING):
                raise
            await asyncio.sleep(_RETRY_S)
        else:
            return True


# An API server that has just started answers before it knows its roles and accounts: for some
# tenths of a second it refuses what it will allow (seen: 403 on leases and pods).
_WHILE_STARTING = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_STARTING_S = 60.0


def _is_transient(status: int) -> bool:
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS


async def answer(call: Awaitable[aiohttp.ClientResponse]) -> Object:
    """Return what a call answers. Raises ApiRefusedError, or ObservationError where nothing answers."""
    response = await _reached(call)
    try:
        await _require_success(response)
        found: Object = await _reached(response.json(content_type=None))
        return found
    finally:
        response.release()


async def _require_success(response: aiohttp.ClientResponse) -> None:
    if response.status < HTTPStatus.BAD_REQUEST:
        return
    text = await _reached(response.text())
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text[:300]
    raise ApiRefusedError(response.status, message)


async def _reached(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ObservationError(f"the API server cannot be reached: {error}") from error
