"""Owns the trial before nodes are registered: do pods of the cluster reach this host at the pods' addresses?

One short-lived pod on each node that is Ready asks a server here for a path that names the node; what
arrives here is the proof. An image that the cluster has is used: kube-proxy's, with this host as its API
server, else an image of Argosy, or the one that the user names. The pods fit Pod Security `restricted` and
are removed, however it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from argosy_sim.livefleet.addresses import listen_on
from argosy_sim.livefleet.errors import AttachError
from argosy_sim.livefleet.host.cluster_api import TRIAL_NAMESPACE, ClusterApi
from argosy_sim.livefleet.kubelet.kube_api import Object

IMAGE_FLAG = "--trial-image"
APP = "argosy-sim-trial"
START_S = 60.0
CONNECT_S = 15.0
"""From the pod's start."""
_LATE_S = 1.0
"""After a pod's end its request may still be on its way to the server here."""
_POLL_S = 0.25
_ARGOSY_IMAGES = ("argosy-simulator:", "argosy-operator:")
# Whichever of these an image has.
_ASK = """
python3 -c "import urllib.request as r; r.urlopen('$URL', timeout=10)" && exit
wget -q -O - -T 10 "$URL" && exit
curl -fsS -m 10 "$URL" && exit
bash -c 'exec 3<>/dev/tcp/$HOST/$PORT; printf "GET $URL_PATH HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3'
"""
_NO_IMAGE = ("ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName")
_NEVER_STARTS = (*_NO_IMAGE, "CreateContainerError", "CreateContainerConfigError", "RunContainerError")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_MAX_LINE_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Goal:
    """Where the pods have to arrive, and the label that marks them."""

    address: str
    port: int
    label: tuple[str, str]

    @property
    def selector(self) -> str:
        """Selects the trial's pods."""
        return f"app.kubernetes.io/name={APP},{self.label[0]}={self.label[1]}"


def trial_pods(
    nodes: Sequence[Object], goal: Goal, kube_proxy: Object | None, image: str | None
) -> dict[str, Object]:
    """A pod for each node that is Ready and has an image for it, by node. Raises AttachError without any."""
    ready = [node for node in nodes if _is_ready(node)]
    found = {}
    for number, node in enumerate(ready):
        container = _container(node, goal, kube_proxy, image)
        if container is not None:
            found[node["metadata"]["name"]] = _pod(node, number, goal, container)
    if not ready:
        raise AttachError(
            "no node of the cluster is Ready, so that no pod can try to reach this host; wait for one"
        )
    if not found:
        raise AttachError(
            "the cluster has no kube-proxy and no image of Argosy, so that no pod can try to reach this host:"
            f" name an image with python3, wget, curl or bash by {IMAGE_FLAG}",
            IMAGE_FLAG,
        )
    return found


def _is_ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _container(node: Object, goal: Goal, kube_proxy: Object | None, image: str | None) -> Object | None:
    name = node["metadata"]["name"]
    path = f"/{APP}/{name}"
    url = f"http://{goal.address}:{goal.port}{path}"
    if image is None and kube_proxy is not None:
        [proxy, *_] = kube_proxy["spec"]["template"]["spec"]["containers"]
        program = [*proxy.get("command", ())][:1] or ["kube-proxy"]
        arguments = [f"--master={url}", f"--hostname-override={name}"]
        return {"image": proxy["image"], "imagePullPolicy": "Never", "command": [*program, *arguments]}
    names = [
        name for each in (node.get("status") or {}).get("images") or () for name in each.get("names") or ()
    ]
    own = next((each for each in names if any(mark in each for mark in _ARGOSY_IMAGES)), None)
    if image is None and own is None:
        return None
    variables = {"URL": url, "URL_PATH": path, "HOST": goal.address, "PORT": str(goal.port)}
    return {
        "image": image or own,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", _ASK],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
    }


def _pod(node: Object, number: int, goal: Goal, container: Object) -> Object:
    restricted: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    key, value = goal.label
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{APP}-{value}-{number}",
            "namespace": TRIAL_NAMESPACE,
            "labels": {"app.kubernetes.io/name": APP, key: value},
        },
        "spec": {
            "nodeName": node["metadata"]["name"],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{"name": "trial", "securityContext": restricted, **container}],
        },
    }


async def require_reach(cluster: ClusterApi, pods: dict[str, Object], goal: Goal) -> None:
    """Wait until the pod of every node has arrived here. Raises AttachError for the first that does not."""
    arrived: set[str] = set()
    server = await _serve(goal, arrived)
    try:
        for pod in pods.values():
            await cluster.make_trial_pod(pod)
        await _wait(cluster, set(pods), arrived, goal)
    finally:
        server.close()
        await asyncio.shield(cluster.remove_trial_pods(goal.selector))


async def _serve(goal: Goal, arrived: set[str]) -> asyncio.Server:
    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        words = line.decode(errors="replace").split("/")
        if APP in words[:2]:
            arrived.add(words[2].split(" ")[0])
        writer.write(_ANSWER)
        writer.close()

    listener = listen_on(goal.address, goal.port)
    return await asyncio.start_server(hear, sock=listener, limit=_MAX_LINE_BYTES)


async def _wait(cluster: ClusterApi, wanted: set[str], arrived: set[str], goal: Goal) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    running_since_s: dict[str, float] = {}
    while missing := wanted - arrived:
        for pod in await cluster.trial_pods(goal.selector):
            node = pod["spec"]["nodeName"]
            phase = (pod.get("status") or {}).get("phase")
            if phase in ("Running", "Succeeded", "Failed"):
                running_since_s.setdefault(node, loop.time())
            why = _hopeless(pod, loop.time() - running_since_s.get(node, loop.time()))
            if node in wanted - arrived and why:
                raise AttachError(why)
        if loop.time() - began_s > START_S + CONNECT_S:
            raise AttachError(
                f"a trial's pod on node {min(missing)} did not start within {START_S:g} s, so that it is not"
                " known whether pods reach this host; look at the node, then run this again"
            )
        await asyncio.sleep(_POLL_S)


def _hopeless(pod: Object, running_s: float) -> str | None:
    """The sentence for a pod that will not arrive any more; None while it may."""
    [status] = (pod.get("status") or {}).get("containerStatuses") or [{}]
    state = status.get("state") or {}
    reason = (state.get("waiting") or {}).get("reason", "")
    node = pod["spec"]["nodeName"]
    if reason in _NEVER_STARTS:
        [container] = pod["spec"]["containers"]
        return (
            f"the trial's pod on node {node} cannot start with the image {container['image']}"
            f" ({reason}: {state['waiting'].get('message', '')}); name one that the node has by {IMAGE_FLAG}"
        )
    ended = state.get("terminated")
    if (ended and running_s > _LATE_S) or running_s > CONNECT_S:
        how = (
            f"ended with exit code {ended['exitCode']}" if ended else f"did not arrive within {CONNECT_S:g} s"
        )
        return f"a pod on node {node} {how}: {_UNREACHABLE}"
    return None


_UNREACHABLE = (
    "it does not reach the addresses that simulated pods would have on this host, so that no node was"
    " registered. The cluster's nodes have to be containers of this host (kind with Docker on Linux), and its"
    " firewall has to let their packets in"
)
