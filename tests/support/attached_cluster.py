"""A cluster that a fleet is attached to: an API server of a few kinds, and kubelets for the trial's pods.

`AttachedCluster` answers over HTTP; `connected` gives it with a client. What a test reads or changes is in
`objects`, by kind and name.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from aiohttp import ClientSession, web

from argosy_sim.livefleet.kubelet.kube_api import KubeApi

Object = dict[str, Any]
PROXY = {"image": "registry.k8s.io/kube-proxy:v1", "command": ["/usr/local/bin/kube-proxy", "--config=x"]}
KUBEADM = "networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}\n"


def node(
    name: str, *, ready: bool = True, images: tuple[str, ...] = (), labels: Object | None = None
) -> Object:
    """A Node whose kubelet is on this host."""
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"podCIDRs": ["10.244.1.0/24"]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "images": [{"names": list(images)}],
        },
    }


def pod(name: str, on: str) -> Object:
    """A pod that is bound to a node."""
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {}}
    return {"metadata": metadata, "spec": {"nodeName": on}, "status": {"podIPs": [{"ip": "10.244.1.7"}]}}


class AttachedCluster:
    """`trial`: what becomes of a trial's pod: `arrives`, `ends` without, or why it cannot start."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Object]] = {
            kind: {} for kind in ("nodes", "pods", "leases", "services")
        }
        self.nodes, self.pods = self.objects["nodes"], self.objects["pods"]
        self.nodes["worker"] = node("worker")
        self.kube_proxy: Object | None = {"spec": {"template": {"spec": {"containers": [PROXY]}}}}
        self.trial = "arrives"
        self.made: list[Object] = []
        self.refuses: set[tuple[str, str]] = set()
        self._kubelets: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """The API server."""
        app = web.Application()
        core, apps = "/api/v1", "/apis/apps/v1"
        for kind in ("nodes", "pods", "services"):
            app.router.add_get(f"{core}/{kind}", self._list(kind))
        app.router.add_get("/apis/networking.k8s.io/v1/servicecidrs", self._service_cidrs)
        app.router.add_get(f"{core}/namespaces/kube-system/configmaps/kubeadm-config", self._kubeadm)
        app.router.add_get(f"{apps}/namespaces/kube-system/daemonsets/kube-proxy", self._proxy)
        app.router.add_delete(f"{core}/nodes/{{name}}", self._delete("nodes"))
        app.router.add_get(f"{core}/namespaces/default/pods", self._list("pods"))
        app.router.add_delete(f"{core}/namespaces/default/pods", self._delete_trial)
        app.router.add_patch(f"{core}/namespaces/default/pods/{{name}}", self._make_pod)
        app.router.add_delete(f"{core}/namespaces/default/pods/{{name}}", self._delete("pods"))
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
        app.router.add_delete(leases, self._delete("leases"))
        return app

    def _list(self, kind: str) -> Any:
        async def answer(request: web.Request) -> web.Response:
            wanted = dict(
                each.split("=") for each in request.query.get("labelSelector", "").split(",") if each
            )
            found = [
                o for o in self.objects[kind].values() if wanted.items() <= o["metadata"]["labels"].items()
            ]
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": found})

        return answer

    def _delete(self, kind: str) -> Any:
        async def answer(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            if ("delete", kind) in self.refuses:
                return web.json_response({"message": f"{kind} is forbidden"}, status=403)
            if self.objects[kind].pop(name, None) is None:
                return web.json_response({"message": "not found"}, status=404)
            return web.json_response({})

        return answer

    async def _service_cidrs(self, _: web.Request) -> web.Response:
        return web.json_response({"message": "no such kind"}, status=404)

    async def _kubeadm(self, _: web.Request) -> web.Response:
        return web.json_response({"data": {"ClusterConfiguration": KUBEADM}})

    async def _proxy(self, _: web.Request) -> web.Response:
        if self.kube_proxy is None:
            return web.json_response({"message": "not found"}, status=404)
        return web.json_response(self.kube_proxy)

    async def _delete_trial(self, request: web.Request) -> web.Response:
        wanted = dict(each.split("=") for each in request.query["labelSelector"].split(","))
        for name, found in list(self.pods.items()):
            if wanted.items() <= found["metadata"]["labels"].items():
                del self.pods[name]
        return web.json_response({})

    async def _make_pod(self, request: web.Request) -> web.Response:
        made = json.loads(await request.text())
        self.made.append(copy.deepcopy(made))
        self.pods[request.match_info["name"]] = made
        task = asyncio.create_task(self._run(made))
        self._kubelets.add(task)
        return web.json_response(made)

    async def _run(self, made: Object) -> None:
        """A kubelet with a trial's pod: as kube-proxy asks the API server that it is given."""
        if self.trial not in ("arrives", "ends"):
            waiting = {"waiting": {"reason": self.trial, "message": "not on this node"}}
            made["status"] = {"phase": "Pending", "containerStatuses": [{"state": waiting}]}
            return
        if self.trial == "arrives":
            [container] = made["spec"]["containers"]
            flags = [each for each in container["command"] if each.startswith("--master=")]
            urls = [each["value"] for each in container.get("env", ()) if each["name"] == "URL"]
            url = (flags[0].removeprefix("--master=") + "/api/v1/nodes?watch=true") if flags else urls[0]
            assert urlsplit(url).port
            async with ClientSession() as session, session.get(url):
                pass
        ended = {"terminated": {"exitCode": 1}}
        made["status"] = {"phase": "Failed", "containerStatuses": [{"state": ended}]}


@asynccontextmanager
async def connected(cluster: AttachedCluster, folder: Path) -> AsyncIterator[KubeApi]:
    """The cluster's API server, and a client of it."""
    runner = web.AppRunner(cluster.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    names = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    kubeconfig = folder / "config"
    config = {
        "current-context": "c",
        "contexts": [names],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
    }
    kubeconfig.write_text(yaml.safe_dump(config))
    api = await KubeApi.connect(kubeconfig)
    try:
        yield api
    finally:
        await api.close()
        await runner.cleanup()
