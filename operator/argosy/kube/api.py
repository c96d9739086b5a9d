"""Calls to the API server, in and out as plain objects.

Owns every request that the operator sends (kopf's watches apart). The official client does the
transport (addresses, TLS, tokens); bodies stay dictionaries, because turning thousands of pods into
classes costs more than everything that is then read of them. Input: a kind, a key and a body.
Output: the API server's object; every refusal is an `ActuationError` with what to do next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientError
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException
from yaml import YAMLError

from argosy.api.kinds import Kind, kind_of
from argosy.errors import SpecError
from argosy.keys import NamespacedName
from argosy.kube.failures import typed
from argosy.kube.kubeconfig import require_readable

Object = dict[str, Any]

FIELD_MANAGER = "argosy"

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class KindPath:
    """Where the objects of a kind are in the API: its URL paths."""

    kind: Kind

    @property
    def plural(self) -> str:
        """The kind's plural."""
        return self.kind.plural

    @property
    def prefix(self) -> str:
        """The URL path of its API group and version."""
        group, version = self.kind.group_version
        return f"/apis/{group}/{version}" if group else f"/api/{version}"

    def path(self, key: str | None = None, subresource: str = "") -> str:
        """The URL path of one object (`namespace/name` or `name`), or of all of them."""
        if key is None:
            return f"{self.prefix}/{self.plural}"
        item = NamespacedName(key)
        scope = f"/namespaces/{item.namespace}" if self.kind.is_namespaced else ""
        return f"{self.prefix}{scope}/{self.plural}/{item.name}" + (f"/{subresource}" if subresource else "")

    def collection(self, namespace: str) -> str:
        """The URL path for creating an object in a namespace."""
        return (
            f"{self.prefix}/namespaces/{namespace}/{self.plural}" if self.kind.is_namespaced else self.path()
        )


def path_of(plural: str) -> KindPath:
    """Where a kind is; raises InvariantError for a plural that is not registered."""
    return KindPath(kind_of(plural))


FLEETPLANS = path_of("fleetplans")
PODS = path_of("pods")
DEPLOYMENTS = path_of("deployments")
REPLICA_SETS = path_of("replicasets")
DISRUPTION_BUDGETS = path_of("poddisruptionbudgets")
CONFIGMAPS = path_of("configmaps")
EVENTS = path_of("events")
LEASES = path_of("leases")
NAMESPACES = path_of("namespaces")
SECRETS = path_of("secrets")
DEFINITIONS = path_of("customresourcedefinitions")


async def connect(kubeconfig: Path | None) -> client.ApiClient:
    """A client for `kubeconfig`, or for the cluster that this process runs in.

    Raises `SpecError` where neither can be used.
    """
    settings = client.Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
        else:
            require_readable(kubeconfig)
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=settings, persist_config=False
            )
    except (ConfigException, YAMLError) as error:
        where = kubeconfig or "the ServiceAccount of this pod"
        raise SpecError(f"{where}: {error}", "--kubeconfig") from error
    return client.ApiClient(settings)


class ApiServer:
    """The verbs that the operator uses. Each raises `ActuationError` where the API server refuses.

    field_manager: as which it writes; commands of users write as another one than the operator
    """

    server_time_s: float | None = None
    """What the API server's clock said in its last answer (seconds since the epoch, to the second)."""

    def __init__(self, api_client: client.ApiClient, field_manager: str = FIELD_MANAGER) -> None:
        self._client, self._field_manager = api_client, field_manager

    async def list(
        self, kind: KindPath, label_selector: str = "", namespace: str = ""
    ) -> tuple[list[Object], int]:
        """The objects of a kind, of all namespaces or one, and the resource version of the listing."""
        query = {"labelSelector": label_selector} if label_selector else {}
        path = kind.collection(namespace) if namespace else kind.path()
        answer = await self._call("GET", path, query=query)
        return answer.get("items") or [], int(answer["metadata"].get("resourceVersion") or 0)

    async def watch_briefly(self, kind: KindPath, version: int) -> None:
        """Watch a kind for a second, from this resource version on (0: any), and drop what is reported.

        Shows whether the API server lets it be watched; a version that it no longer has is no refusal.
        """
        query = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": str(version)}
        await self._call("GET", kind.path(), query=query, accept=(410,), parse=lambda data: {})

    async def find(self, kind: KindPath, key: str) -> Object | None:
        """One object, or None where there is none."""
        answer = await self._call("GET", kind.path(key), accept=(404,))
        return None if answer.get("kind") == "Status" else answer

    async def create(self, kind: KindPath, body: Object) -> Object:
        """Create an object in its `metadata.namespace`."""
        namespace = body["metadata"].get("namespace", "")
        return await self._call("POST", kind.collection(namespace), body=body)

    async def apply(self, kind: KindPath, key: str, body: Object) -> Object:
        """Server-side apply as the field manager; forced: fields of other managers become its own."""
        query = {"fieldManager": self._field_manager, "force": "true"}
        return await self._call("PATCH", kind.path(key), body=body, content_type=APPLY, query=query)

    async def try_create(self, kind: KindPath, body: Object) -> Object:
        """Create an object as a dry run: fields that are in no schema are refused, and nothing changes.

        Not by an apply, to which the API server answers such fields with 500, as if it were out of order.
        """
        query = {"fieldManager": self._field_manager, "dryRun": "All", "fieldValidation": "Strict"}
        path = kind.collection(body["metadata"].get("namespace", ""))
        return await self._call("POST", path, body=body, query=query)

    async def patch(self, kind: KindPath, key: str, body: Mapping[str, Any], sub: str = "") -> Object:
        """Merge patch of an object or of its subresource `sub`."""
        query = {"fieldManager": self._field_manager}
        return await self._call("PATCH", kind.path(key, sub), body=body, content_type=MERGE, query=query)

    async def merge(self, kind: KindPath, key: str, body: Mapping[str, Any]) -> Object:
        """Strategic merge patch: lists are merged by key, and `$patch: delete` removes an item."""
        query = {"fieldManager": self._field_manager}
        return await self._call("PATCH", kind.path(key), body=body, content_type=STRATEGIC, query=query)

    async def delete(self, kind: KindPath, key: str) -> None:
        """Delete an object; an object that is gone already is no error."""
        await self._call("DELETE", kind.path(key), accept=(404,))

    async def _call(  # noqa: PLR0913  (the parts of one HTTP request)
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        parse: Callable[[bytes], Object] | None = None,
    ) -> Object:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        with typed(f"{method} {path}"):
            serialized = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*serialized, _request_timeout=TIMEOUT_S)
            data = await response.read()  # type: ignore[no-untyped-call]
            self.server_time_s = _date_s(response.headers.get("Date")) or self.server_time_s
            if not 200 <= response.status <= 299 and response.status not in accept:
                raise ApiException.from_response(http_resp=response, body=data.decode(), data=None)
            return (parse or _parsed)(data)


def _date_s(header: str | None) -> float | None:
    """The time of an HTTP `Date` header; None where there is none that can be read."""
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except ValueError:
        return None


def _parsed(data: bytes) -> Object:
    """Raises ClientError for an answer that no API server sends: it comes from a proxy in between."""
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise ClientError(f"its answer is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise ClientError("its answer is no object")
    return answer
