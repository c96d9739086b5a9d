"""A stage on a cluster that was there before: what it refuses, and what it changes in the examples."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from argosy.api import GPUPool
from argosy.errors import SpecError
from argosy_sim import attached_stage
from argosy_sim.attached_stage import AttachedStage, OthersCluster, pool_patches, require_bare
from argosy_sim.controlplane.host.processes import Launcher, Process
from argosy_sim.livefleet.control import LiveFleetStatus, NodeStatus
from argosy_sim.stage import StagePlan

ROOT = Path(__file__).parents[3]
CRD = "customresourcedefinition.apiextensions.k8s.io/"


@dataclass
class FakeCluster:
    """A cluster behind a kubectl that is a shell script."""

    kubectl: Path
    admin_kubeconfig: Path = Path("/nowhere")
    processes: Sequence[Process] = ()

    def service_account_kubeconfig(self, namespace: str, name: str, path: Path) -> Path:
        raise AssertionError(namespace, name, path)


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[..., AttachedStage]:
    def make(**answers: str) -> AttachedStage:
        program = tmp_path / "kubectl"
        cases = "".join(f"*' {word} '*) echo {shlex.quote(text)};;" for word, text in answers.items())
        program.write_text(f'#!/bin/sh\nshift; echo "$@" >> {tmp_path}/calls\ncase " $* " in {cases} esac\n')
        program.chmod(0o755)
        plan = StagePlan(tmp_path, ROOT)
        return AttachedStage(plan, FakeCluster(program), Launcher(os.environ, die_with_parent=True))

    return make


def test_a_cluster_without_argosy_is_fit(cluster: Callable[..., AttachedStage]) -> None:
    require_bare(cluster(crd=f"{CRD}alerts.example.org {CRD}fleets.other.dev"))


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ({"namespace": "namespace/argosy-system"}, "namespace/argosy-system"),
        ({"crd": f"{CRD}gpupools.argosy.dev"}, "the definition gpupools.argosy.dev"),
    ],
)
def test_a_cluster_with_argosy_is_refused(
    there: dict[str, str], named: str, cluster: Callable[..., AttachedStage]
) -> None:
    with pytest.raises(
        SpecError, match=rf"already \({named}\), without .* name a cluster without it"
    ) as refused:
        require_bare(cluster(**there))
    assert refused.value.field == "--kubeconfig"


def test_pools_take_simulated_nodes_only() -> None:
    plan = StagePlan(Path(), ROOT)
    attached = StagePlan(Path(), ROOT, patches=pool_patches(plan))
    pools = [GPUPool.from_object(item) for item in attached.objects() if item["kind"] == "GPUPool"]
    assert pools
    for pool in pools:
        assert pool.spec.node_selector["type"] == "argosy-sim"
        assert "nvidia.com/gpu.product" in pool.spec.node_selector
        assert [each.key for each in pool.spec.tolerations] == ["argosy.dev/simulated"]


def test_a_kubeconfig_that_kubectl_refuses_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\necho 'error: no context' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SpecError, match=r"--kubeconfig: .*nothing: error: no context"):
        OthersCluster(tmp_path / "nothing", tmp_path, print)


def with_dead_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = (NodeStatus("l40s-0", "L40S", 2, True), NodeStatus("l40s-1", "L40S", 2, False))
    status = LiveFleetStatus(nodes, (), 0.0, 0)
    monkeypatch.setattr(attached_stage, "fleet_status", lambda directory: status)


def test_what_was_installed_is_removed_in_reverse_order(
    cluster: Callable[..., AttachedStage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(attached_stage, "_DOWN", ["true"])
    with_dead_node(monkeypatch)
    said: list[str] = []
    cluster().remove_all(said.append)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("delete pods --all-namespaces --field-selector=spec.nodeName=l40s-0 --force")
    removed = [Path(line.split()[-1]).name for line in calls[1:-1]]
    assert removed == ["deletion-warnings.yaml", "operator-rbac.yaml", "crds"]
    assert calls[-1] == "delete namespace argosy-system --ignore-not-found"
    assert said == []


def test_where_the_fleet_was_refused_the_rest_is_removed(
    cluster: Callable[..., AttachedStage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(attached_stage, "_DOWN", ["true"])
    said: list[str] = []
    cluster().remove_all(said.append)
    assert said == []
    assert "delete namespace" in (tmp_path / "calls").read_text()


def test_what_cannot_be_removed_is_said_with_the_remedy(
    cluster: Callable[..., AttachedStage], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(attached_stage, "_DOWN", ["false"])
    with_dead_node(monkeypatch)
    stage = cluster()
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    said: list[str] = []
    stage.remove_all(said.append)
    assert "replicas may be left in the cluster: kubectl delete pods" in said[0]
    assert "not all was removed from the cluster" in said[1]
    assert "-f charts/argosy/files/operator-rbac.yaml -f crds/` remove it" in said[1]
