"""How a fleet comes into a cluster that was there before, and how it leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from attached_cluster import AttachedCluster, Object, connected, node, pod
from host_routes import FakeIp

from argosy.errors import SpecError
from argosy_sim.livefleet.addresses import lock_block
from argosy_sim.livefleet.errors import AttachError
from argosy_sim.livefleet.host import ranges, trial
from argosy_sim.livefleet.host.attachment import FLEET_LABEL, Attachment, Place, fleet_id
from argosy_sim.livefleet.host.routes import HostRoutes
from argosy_sim.livefleet.kubelet.kube_api import KubeApi
from argosy_sim.livefleet.kubelet.nodes import node_object, nodes_of
from argosy_sim.livefleet.launch import AttachSettings
from argosy_sim.livefleet.spec import TAINT, LiveFleetSpec, NodeGroup

SPEC = LiveFleetSpec(nodes=(NodeGroup(name="sim", gpu_product="NVIDIA-L40S", gpus=2, count=2),))
# No route is needed to bind these, and no other fleet claims them.
BLOCKS = ("127.251", "127.252")


class World:
    """A cluster, this host's routes, and fleets of one state directory."""

    def __init__(self, api: KubeApi, cluster: AttachedCluster, state_dir: Path) -> None:
        self.api, self.cluster, self.state_dir = api, cluster, state_dir
        self.ip = FakeIp()
        self.label = {FLEET_LABEL: fleet_id(state_dir), "type": "argosy-sim"}

    def attachment(self) -> Attachment:
        return Attachment(self.api, self.state_dir, HostRoutes(self.ip))

    async def attach(self, stack: AsyncExitStack, settings: AttachSettings | None = None) -> Place:
        return await self.attachment().attach(SPEC, settings or AttachSettings(), stack)

    async def refusal(self, settings: AttachSettings | None = None) -> str:
        """What a fleet is refused with; it leaves nothing behind."""
        async with AsyncExitStack() as stack:
            with pytest.raises(AttachError) as refused:
                await self.attach(stack, settings)
        assert (self.ip.fleets(), self.trial_pods()) == ([], [])
        return str(refused.value)

    def trial_pods(self) -> list[Object]:
        return [p for p in self.cluster.pods.values() if p["metadata"]["labels"].get(FLEET_LABEL)]


@pytest.fixture(autouse=True)
def _blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = tuple(IPv4Network(f"{each}.0.0/16") for each in BLOCKS)
    monkeypatch.setattr(ranges, "_CANDIDATES", (*candidates, candidates[0]))
    monkeypatch.setattr(trial, "_POLL_S", 0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    cluster = AttachedCluster()
    async with connected(cluster, tmp_path) as api:
        yield World(api, cluster, tmp_path)


async def test_pods_of_every_real_node_try_to_reach_this_host_first(world: World) -> None:
    world.cluster.nodes |= {
        "other": node("other"),
        "silent": node("silent", ready=False),
        "theirs-0": node("theirs-0", labels={"type": "argosy-sim"}),
    }
    async with AsyncExitStack() as stack:
        place = await world.attach(stack)
        assert (place.claim.network, place.host_ip) == ("127.251.0.0/16", "127.0.0.1")
        assert world.ip.fleets() == ["127.251.0.0/16"]
    assert {made["spec"]["nodeName"] for made in world.cluster.made} == {"worker", "other"}
    assert (world.trial_pods(), world.ip.fleets()) == ([], [])


async def test_the_pods_of_the_trial_fit_pod_security_restricted(world: World) -> None:
    async with AsyncExitStack() as stack:
        await world.attach(stack)
    [made] = world.cluster.made
    [container] = made["spec"]["containers"]
    assert made["spec"]["securityContext"]["runAsNonRoot"]
    assert made["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert made["spec"]["automountServiceAccountToken"] is False


async def test_nodes_keep_other_pods_and_load_balancers_off(world: World) -> None:
    async with AsyncExitStack() as stack:
        place = await world.attach(stack)
    for each in nodes_of(place.spec, place.host_ip):
        made = node_object(each, taint=place.spec.taint)
        assert made["spec"]["taints"] == [TAINT]
        assert made["metadata"]["labels"][FLEET_LABEL] == fleet_id(world.state_dir)
        assert made["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] == "true"


async def test_a_host_that_pods_do_not_reach_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_LATE_S", 0.0)
    world.cluster.trial = "ends"
    assert "a pod on node worker ended with exit code 1: it does not reach" in await world.refusal()


async def test_an_image_that_cannot_start_is_refused_by_name(world: World) -> None:
    world.cluster.trial = "ErrImageNeverPull"
    refusal = await world.refusal()
    assert (
        "node worker cannot start with the image registry.k8s.io/kube-proxy:v1 (ErrImageNeverPull" in refusal
    )
    assert "by --trial-image" in refusal


async def test_without_kube_proxy_an_image_of_argosy_is_used(world: World) -> None:
    world.cluster.kube_proxy = None
    image = "docker.io/library/argosy-operator:dev"
    world.cluster.nodes["worker"] = node("worker", images=("registry.k8s.io/pause:3", image))
    async with AsyncExitStack() as stack:
        await world.attach(stack)
    [made] = world.cluster.made
    assert made["spec"]["containers"][0]["image"] == image


async def test_without_any_image_the_user_has_to_name_one(world: World) -> None:
    world.cluster.kube_proxy = None
    assert "name an image with python3, wget, curl or bash by --trial-image" in await world.refusal()
    async with AsyncExitStack() as stack:
        await world.attach(stack, AttachSettings(trial_image="busybox:1"))
    assert world.cluster.made[-1]["spec"]["containers"][0]["image"] == "busybox:1"


async def test_without_a_ready_node_nothing_can_be_tried(world: World) -> None:
    world.cluster.nodes["worker"] = node("worker", ready=False)
    assert "no node of the cluster is Ready" in await world.refusal()


async def test_a_node_of_the_cluster_is_not_taken_over(world: World) -> None:
    world.cluster.nodes["sim-1"] = node("sim-1")
    refusal = await world.refusal()
    assert refusal.startswith("--spec: the cluster has nodes of these names already: sim-1; name")
    assert "sim-1" in world.cluster.nodes


@pytest.mark.parametrize(
    ("chosen", "user"),
    [
        ("10.244.0.0/16", "the pod range of node worker has 10.244.1.0/24"),
        ("10.96.0.0/16", "the range of Services has 10.96.0.0/16"),
        ("172.17.0.0/16", "a route of this host has 172.17.0.0/16"),
        ("10.55.0.0/16", "Service default/far has 10.55.3.4/32"),
        ("10.66.0.0/16", "pod default/near has 10.66.1.1/32"),
    ],
)
async def test_a_range_in_use_is_refused_with_its_user(world: World, chosen: str, user: str) -> None:
    far = {
        "metadata": {"name": "far", "namespace": "default"},
        "spec": {"clusterIPs": ["10.55.3.4", "fd00::1"]},
    }
    world.cluster.objects["services"]["far"] = far | {"metadata": far["metadata"] | {"labels": {}}}
    near = pod("near", "worker")
    near["status"]["podIPs"] = [{"ip": "10.66.1.1"}]
    world.cluster.pods["near"] = near
    assert f"{chosen} is taken: {user}" in await world.refusal(AttachSettings(chosen))


async def test_a_refused_route_is_a_refusal_with_what_ip_said(world: World) -> None:
    world.ip.refusal = "RTNETLINK answers: Operation not permitted"
    assert "Operation not permitted" in await world.refusal()


async def test_two_fleets_on_one_host_have_different_ranges(world: World, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = await world.attach(stack)
        other = Attachment(world.api, tmp_path / "other", HostRoutes(world.ip))
        second = await other.attach(SPEC, AttachSettings(), stack)
        assert first.claim.network != second.claim.network
        assert set(world.ip.fleets()) == {first.claim.network, second.claim.network}
    assert world.ip.fleets() == []


async def test_what_a_killed_fleet_left_is_removed_by_the_next(world: World) -> None:
    left = {"type": "local", "dst": "127.252.0.0/16", "protocol": "214"}
    world.ip.routes.append(left)
    world.cluster.nodes["old-0"] = node("old-0", labels=world.label)
    world.cluster.objects["leases"]["old-0"] = {"metadata": {"name": "old-0", "labels": {}}}
    world.cluster.pods |= {"engine": pod("engine", "old-0"), "users": pod("users", "worker")}
    async with AsyncExitStack() as stack:
        await world.attach(stack)
        assert world.ip.fleets() == ["127.251.0.0/16"]
        assert set(world.cluster.nodes) == {"worker"}
        assert set(world.cluster.pods) == {"users"}
        assert world.cluster.objects["leases"] == {}


async def test_the_route_of_a_fleet_that_runs_is_left(world: World) -> None:
    world.ip.routes.append({"type": "local", "dst": "127.251.0.0/16", "protocol": "214"})
    lock = lock_block(BLOCKS[0])
    assert lock is not None
    with lock:
        async with AsyncExitStack() as stack:
            place = await world.attach(stack)
            assert place.claim.network == "127.252.0.0/16"
    assert world.ip.fleets() == ["127.251.0.0/16"]


async def test_at_the_end_only_what_the_fleet_made_is_removed(world: World) -> None:
    world.cluster.nodes |= {
        "sim-0": node("sim-0", labels=world.label),
        "theirs-0": node("theirs-0", labels={FLEET_LABEL: "another", "type": "argosy-sim"}),
    }
    world.cluster.pods |= {"engine": pod("engine", "sim-0"), "users": pod("users", "worker")}
    await world.attachment().detach()
    assert set(world.cluster.nodes) == {"worker", "theirs-0"}
    assert set(world.cluster.pods) == {"users"}


async def test_what_cannot_be_removed_at_the_end_is_logged_with_the_remedy(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.cluster.nodes["sim-0"] = node("sim-0", labels=world.label)
    world.cluster.refuses.add(("delete", "nodes"))
    await world.attachment().detach()
    assert f"`kubectl delete node -l {FLEET_LABEL}={fleet_id(world.state_dir)}`" in caplog.text


async def test_a_kubeconfig_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--kubeconfig: .*nothing cannot be used: "):
        await KubeApi.connect(tmp_path / "nothing")
    (tmp_path / "odd").write_text("hello: [")
    with pytest.raises(SpecError, match=r"--kubeconfig: .*odd cannot be used: "):
        await KubeApi.connect(tmp_path / "odd")
