"""Owns what a cluster uses: the networks of its pods, Services and nodes, read from its own objects.

Input: the API. Output: `Taken` networks. No object names all of them in every cluster, so each that names
some is read: ranges of nodes, of ServiceCIDRs and of kubeadm's settings, and the addresses of pods, Services
and nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, ip_network

import yaml

from argosy_sim.livefleet.host.cluster_api import ClusterApi
from argosy_sim.livefleet.host.ranges import Taken
from argosy_sim.livefleet.kubelet.kube_api import Object


async def used_by(cluster: ClusterApi, nodes: Iterable[Object], pods: Iterable[Object]) -> list[Taken]:
    """Every network that the cluster uses; of `nodes` and `pods` those that are not ours."""
    services, ranges, kubeadm = (
        await cluster.services(),
        await cluster.service_cidrs(),
        await cluster.kubeadm(),
    )
    return [
        *(taken for node in nodes for taken in _of_node(node)),
        *(taken for each in ranges for taken in _named(each["spec"].get("cidrs"), "the range of Services")),
        *_of_kubeadm(kubeadm),
        *(taken for pod in pods for taken in _of_pod(pod)),
        *(taken for service in services for taken in _of_service(service)),
    ]


def _of_node(node: Object) -> Iterator[Taken]:
    name = node["metadata"]["name"]
    yield from _named(node["spec"].get("podCIDRs"), f"the pod range of node {name}")
    addresses = [each["address"] for each in (node.get("status") or {}).get("addresses") or ()]
    yield from _named(addresses, f"node {name}")


def _of_pod(pod: Object) -> Iterator[Taken]:
    addresses = [each["ip"] for each in (pod.get("status") or {}).get("podIPs") or ()]
    yield from _named(addresses, f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}")


def _of_service(service: Object) -> Iterator[Taken]:
    name = f"Service {service['metadata']['namespace']}/{service['metadata']['name']}"
    yield from _named(service["spec"].get("clusterIPs"), name)


def _of_kubeadm(settings: Object | None) -> Iterator[Taken]:
    text = ((settings or {}).get("data") or {}).get("ClusterConfiguration", "")
    networking: Object = {}
    with suppress(yaml.YAMLError, AttributeError):
        networking = yaml.safe_load(text).get("networking") or {}
    for field, by in (("podSubnet", "the range of pods"), ("serviceSubnet", "the range of Services")):
        yield from _named(str(networking.get(field) or "").split(","), by)


def _named(texts: Iterable[str] | None, by: str) -> Iterator[Taken]:
    """The IPv4 networks and addresses of a list: it may name hosts, `None` and IPv6 too."""
    for text in texts or ():
        with suppress(ValueError):
            network = ip_network(text.strip(), strict=False)
            if isinstance(network, IPv4Network):
                yield Taken(network, by)
