"""A mutating webhook of another product: it changes every engine pod that is created while it is installed.

Owns a small HTTPS server on loopback, whose certificate the control plane's authority signed, and its
registration. Never outlives its block.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

from aiohttp import web

from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.faults.picture import Object
from argosy_sim.faults.world import World

NAME = "faults.argosy.test"


class Mutation(StrEnum):
    """What it does to a pod."""

    RENAME = "rename"
    """The first container gets another name."""
    SIDECAR = "sidecar"
    """A container is put before the engine's."""


RENAMED, ADDED = "renamed", "sidecar"


def mutated(pods: Iterable[Object]) -> tuple[Object, ...]:
    """The pods that a webhook has changed."""
    return tuple(pod for pod in pods if pod["spec"]["containers"][0]["name"] in (RENAMED, ADDED))


def patch_of(mutation: Mutation) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) of a pod."""
    if mutation is Mutation.RENAME:
        return [{"op": "replace", "path": "/spec/containers/0/name", "value": RENAMED}]
    sidecar = {"name": ADDED, "image": "registry.example/sidecar:1"}
    return [{"op": "add", "path": "/spec/containers/0", "value": sidecar}]


@asynccontextmanager
async def mutating(world: World, mutation: Mutation) -> AsyncIterator[None]:
    """Install the webhook for the length of a block."""

    async def answer(request: web.Request) -> web.Response:
        review = await request.json()
        patch = base64.b64encode(json.dumps(patch_of(mutation)).encode()).decode()
        uid = review["request"]["uid"]
        response = {"uid": uid, "allowed": True, "patchType": "JSONPatch", "patch": patch}
        return web.json_response({**review, "response": response})

    control_plane = world.stage.control_plane
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(control_plane.kubelet_certificate, control_plane.kubelet_key)
    (port,) = free_ports(1)
    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port, ssl_context=context).start()
    authority = base64.b64encode(control_plane.ca_certificate.read_bytes()).decode()
    try:
        await world.apply(_registration(f"https://{LOOPBACK}:{port}/", authority))
        yield
    finally:
        await world.kubectl("delete", "mutatingwebhookconfiguration", NAME, "--ignore-not-found")
        await runner.cleanup()


def _registration(url: str, authority: str) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    webhook = {
        "name": f"pods.{NAME}",
        "clientConfig": {"url": url, "caBundle": authority},
        "rules": [rule],
        "objectSelector": {"matchLabels": {LABEL_MANAGED_BY: MANAGED_BY}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [webhook],
    }
