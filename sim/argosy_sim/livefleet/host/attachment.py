"""Owns the order in which a fleet is attached to a cluster that was there before, and taken out again.

What a killed fleet of the same state directory left is removed first; then a range is chosen and routed here,
pods of the cluster try it, and only then may nodes be registered. At the end nodes, their pods and Leases go,
then the route. Nothing else of the cluster is changed. Input: the API, the fleet's description and the user's
choices. Output: a `Place`, or `AttachError`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
import socket
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from argosy.errors import ArgosyError
from argosy_sim.controlplane.credentials.certificates import Authority, CertificateSubject
from argosy_sim.controlplane.credentials.kubeconfig import write_private
from argosy_sim.livefleet.addresses import AddressClaim, lock_block
from argosy_sim.livefleet.errors import AttachError
from argosy_sim.livefleet.host.cluster_api import ClusterApi
from argosy_sim.livefleet.host.ranges import FLAG, Taken, free_range, parse_range
from argosy_sim.livefleet.host.routes import HostRoutes
from argosy_sim.livefleet.host.survey import used_by
from argosy_sim.livefleet.host.trial import Goal, require_reach, trial_pods
from argosy_sim.livefleet.kubelet.kube_api import KubeApi, Object, PodName, persist
from argosy_sim.livefleet.kubelet.log_endpoint import ServingCertificate
from argosy_sim.livefleet.kubelet.nodes import nodes_of
from argosy_sim.livefleet.launch import AttachSettings
from argosy_sim.livefleet.spec import SIMULATED, LiveFleetSpec

FLEET_LABEL = "argosy.dev/sim-fleet"
# No load balancer sends requests to a node without a kube-proxy.
_LABELS = {"node.kubernetes.io/exclude-from-external-load-balancers": "true"}
_DETACH_S = 20.0
_ANY_PORT = 9
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fleet's pods and nodes are. `host_ip`: this host as the cluster's nodes reach it."""

    claim: AddressClaim
    spec: LiveFleetSpec
    host_ip: str
    certificate: ServingCertificate | None


def fleet_id(state_dir: Path) -> str:
    """Names the fleet of a state directory in the cluster, again after a crash."""
    return hashlib.sha256(f"{socket.gethostname()}:{state_dir}".encode()).hexdigest()[:12]


def marked(spec: LiveFleetSpec, identity: str) -> LiveFleetSpec:
    """The description with what every node of an attached fleet carries: a taint, and labels."""
    labels = {FLEET_LABEL: identity} | _LABELS
    groups = tuple(group.model_copy(update={"labels": group.labels | labels}) for group in spec.nodes)
    return spec.model_copy(update={"taint": True, "nodes": groups})


class Attachment:
    """One fleet's way into a cluster and out of it."""

    def __init__(self, api: KubeApi, state_dir: Path, routes: HostRoutes | None = None) -> None:
        self._api = api
        self._cluster = ClusterApi(api.connections)
        self._state_dir = state_dir
        self._identity = fleet_id(state_dir)
        self._routes = routes or HostRoutes()

    async def attach(self, spec: LiveFleetSpec, settings: AttachSettings, stack: AsyncExitStack) -> Place:
        """Prepare host and cluster; the stack undoes it. Raises AttachError, and as `ClusterApi` does."""
        wanted = parse_range(settings.pod_range) if settings.pod_range else None
        nodes = await self._cluster.nodes()
        self._require_free_names(spec, nodes)
        await self._remove_leftovers(nodes)
        nodes = [node for node in nodes if not _is_of(node, self._identity)]
        pods, _ = await self._api.list_bound_pods()
        taken = [*self._routes.taken(), *await used_by(self._cluster, nodes, pods)]
        claim = self._claim(wanted, taken, spec.engine_port, stack)
        real = [node for node in nodes if node["metadata"].get("labels", {}).get("type") != SIMULATED]
        await self._try(real, claim, settings.trial_image)
        host_ip = _host_ip(real)
        return Place(claim, marked(spec, self._identity), host_ip, self._certificate(host_ip))

    async def _try(self, nodes: Sequence[Object], claim: AddressClaim, image: str | None) -> None:
        goal = Goal(f"{claim.prefix}.0.2", claim.engine_port, (FLEET_LABEL, self._identity))
        trial = trial_pods(nodes, goal, await self._cluster.kube_proxy(), image)
        _log.info("pods of the cluster try to reach %s:%d on this host", goal.address, goal.port)
        await require_reach(self._cluster, trial, goal)
        _log.info("they do, from %s", ", ".join(sorted(trial)))

    def _claim(
        self, wanted: IPv4Network | None, taken: list[Taken], port: int | None, stack: AsyncExitStack
    ) -> AddressClaim:
        network = free_range(wanted, taken)
        prefix = str(network).removesuffix(".0.0/16")
        lock = lock_block(prefix)
        if lock is None:
            raise AttachError(f"{network} is claimed by a fleet that starts just now; run this again", FLAG)
        stack.callback(lock.close)
        self._routes.add(network)
        stack.callback(self._remove_route, network)
        return stack.enter_context(AddressClaim.within(prefix, lock, port))

    def _certificate(self, host_ip: str) -> ServingCertificate | None:
        """For `kubectl logs`: an API server of kubeadm takes any kubelet's certificate, and shows one of the
        kubeconfig's authority."""
        authority = self._api.connections.configuration.ssl_ca_cert
        if not authority:
            return None
        folder = self._state_dir / "kubelet"
        made = Authority("argosy-sim", dt.datetime.now(dt.UTC))
        pair = made.issue_server(CertificateSubject("virtual-kubelet"), (host_ip,))
        folder.mkdir(parents=True, exist_ok=True)
        write_private(folder / "kubelet.crt", pair.certificate_pem)
        write_private(folder / "kubelet.key", pair.key_pem)
        write_private(folder / "ca.crt", Path(authority).read_bytes())
        return ServingCertificate.in_directory(folder)

    def _require_free_names(self, spec: LiveFleetSpec, nodes: Sequence[Object]) -> None:
        theirs = {node["metadata"]["name"] for node in nodes if not _is_of(node, self._identity)}
        if taken := sorted(theirs & {node.name for node in nodes_of(spec)}):
            raise AttachError(
                f"the cluster has nodes of these names already: {', '.join(taken)}; name the groups of nodes"
                " otherwise in a description of your own",
                "--spec",
            )

    # --- the end ------------------------------------------------------------------------------------

    async def _remove_leftovers(self, nodes: Sequence[Object]) -> None:
        """What fleets that were killed left: of this state directory in the cluster, of any on this host."""
        if left := [node["metadata"]["name"] for node in nodes if _is_of(node, self._identity)]:
            _log.info("removing what a killed fleet left: %s", ", ".join(left))
            await self._remove_nodes(left)
        await self._cluster.remove_trial_pods(f"{FLEET_LABEL}={self._identity}")
        for network in self._routes.fleets():
            lock = lock_block(str(network).removesuffix(".0.0/16"))
            if lock is not None:
                _log.info("removing the route that a killed fleet left: %s", network)
                self._routes.remove(network)
                lock.close()

    async def detach(self) -> None:
        """Remove the fleet's nodes with their pods and Leases; what cannot be removed is logged."""
        try:
            async with asyncio.timeout(_DETACH_S):
                nodes = await self._cluster.nodes(f"{FLEET_LABEL}={self._identity}")
                await self._remove_nodes([node["metadata"]["name"] for node in nodes])
        except (ArgosyError, TimeoutError) as error:
            _log.error(
                "nodes of this fleet may be left in the cluster (%s): the next start removes them, or"
                " `kubectl delete node -l %s=%s`",
                error or "no answer",
                FLEET_LABEL,
                self._identity,
            )

    async def _remove_nodes(self, names: Collection[str]) -> None:
        # The nodes first: a pod that is replaced must not come back to one of them.
        await asyncio.gather(*(self._cluster.remove_node(name) for name in names))
        pods = [
            PodName.of(p) for p in (await self._api.list_bound_pods())[0] if p["spec"]["nodeName"] in names
        ]
        await asyncio.gather(*(self._remove_pod(pod) for pod in pods))

    async def _remove_pod(self, pod: PodName) -> None:
        await persist(lambda: self._api.remove_pod(pod))

    def _remove_route(self, network: IPv4Network) -> None:
        try:
            self._routes.remove(network)
        except AttachError as error:
            _log.error("%s: the next start removes the route", error)


def _is_of(node: Object, identity: str) -> bool:
    return (node["metadata"].get("labels") or {}).get(FLEET_LABEL) == identity


def _host_ip(nodes: Sequence[Object]) -> str:
    """This host's address on the way to a node of the cluster. Raises AttachError where no node has one."""
    for node in nodes:
        for each in (node.get("status") or {}).get("addresses") or ():
            if each["type"] == "InternalIP" and ":" not in each["address"]:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.connect((each["address"], _ANY_PORT))  # sends nothing
                    found: str = probe.getsockname()[0]
                    return found
    raise AttachError("no node of the cluster has an InternalIP of IPv4: attaching a fleet needs one")
