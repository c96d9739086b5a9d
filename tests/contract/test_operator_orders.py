"""Wrong orders and bad surroundings on real components: each has its sentence, and each is got over."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from operator_stage import OURS, REPOSITORY, WORLD, Operator, OperatorStage, condition, until, until_equal

from argosy.xds import snapshot_file
from argosy.xds.snapshot import ResourceSet, Snapshot, TypeUrl
from argosy_sim.controlplane.cluster import ControlPlane
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports
from argosy_sim.controlplane.host.processes import Launcher
from argosy_sim.envoy import EnvoyProcess, EnvoySettings, find_envoy
from argosy_sim.stage import ENVOY_NODE, Stage, StagePlan

RUN = [sys.executable, "-m", "argosy", "operator", "run"]
AN_HOUR_BEHIND = """
import runpy, sys, time
real = time.time
time.time = lambda: real() - 3600.0
sys.argv[0] = "argosy"
runpy.run_module("argosy", run_name="__main__")
"""
"""The real program; only what `time.time` answers is an hour old."""
EMPTY = Snapshot.of_sets({each: ResourceSet(7, {}) for each in TypeUrl})


class BareCluster:
    """A control plane with nothing of Argosy's on it, and an operator that has come too early."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        control_plane = stack.enter_context(ControlPlane.start(directory / "control-plane"))
        launcher = Launcher(os.environ, die_with_parent=True)
        stack.callback(launcher.kill_all)
        self.stage = Stage(StagePlan(directory, REPOSITORY), control_plane, launcher)
        self.xds_port, self.http_port = free_ports(2)

    def start_operator(self) -> Operator:
        """As a ServiceAccount that may do nothing yet."""
        self.stage.kubectl("create", "namespace", "early")
        self.stage.kubectl("-n", "early", "create", "serviceaccount", "operator")
        kubeconfig = self.stage.control_plane.service_account_kubeconfig(
            "early", "operator", self.directory / "early.kubeconfig"
        )
        address = f"{LOOPBACK}:{self.http_port}"
        command = [*RUN, "--kubeconfig", str(kubeconfig), "--http-address", address]
        command += ["--xds-address", f"{LOOPBACK}:{self.xds_port}", "--state-dir", str(self.state_dir)]
        return Operator("early", self.stage.launch("early", command), address)

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    def log(self, name: str = "early") -> str:
        return (self.directory / "logs" / f"{name}.log").read_text(errors="replace")

    def until_said(self, sentence: str) -> None:
        until(lambda: sentence in self.log(), f"the log to say: {sentence}")


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[BareCluster]:
    with ExitStack() as stack:
        yield BareCluster(tmp_path, stack)


@pytest.mark.timeout(180)
def test_envoy_first_then_the_operator_then_permissions_namespace_and_custom_resources_and_never_a_fleet(
    bare: BareCluster,
) -> None:
    with asyncio.Runner() as runner:
        settings = EnvoySettings("early-envoy", ((LOOPBACK, bare.xds_port),), bare.directory, find_envoy(), 1)
        envoy = runner.run(EnvoyProcess.start(settings))
        try:
            snapshot_file.save(EMPTY, bare.state_dir, "uid-of-another-cluster")
            operator = bare.start_operator()
            bare.until_said("system:serviceaccount:early:operator may not get leases.coordination.k8s.io")
            bare.until_said("kubectl apply --server-side -f charts/argosy/files/operator-rbac.yaml")
            bare.until_said(
                "the copy is served without knowing that it is of this cluster: its own is uid-of"
            )

            allow = ("create", "clusterrolebinding", "early", "--clusterrole=cluster-admin")
            bare.stage.kubectl(*allow, "--serviceaccount=early:operator")
            bare.until_said("the namespace argosy-system does not exist: create it")
            bare.until_said("install them: kubectl apply --server-side -f crds/")
            bare.until_said("until the caches are complete, but it is of the cluster whose namespace")
            assert not operator.is_ready()

            bare.stage.kubectl("create", "namespace", "argosy-system")
            bare.stage.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
            until(operator.is_ready, "the operator to be ready")
            until_equal(1.0, lambda: operator.metric("argosy_is_leader"), "it to lead")
            until_equal(1.0, lambda: operator.metric("argosy_envoys_connected"), "Envoy to be connected")

            without_fleet = (
                part
                for part in (WORLD / "world.yaml").read_text().split("---")
                if "kind: Fleet\n" not in part
            )
            bare.stage.kubectl("apply", "-f", "-", stdin="---".join(without_fleet))

            def said() -> str:
                path = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
                return bare.stage.kubectl("get", "wclass", "chat", "-o", path)

            until(said, "a sentence in the class's status")
            assert bare.stage.kubectl("get", "deployments", "-A", "-o", "name") == "", "no mode was chosen"
            assert operator.is_running
        finally:
            runner.run(envoy.stop())


def test_a_clock_an_hour_off_and_a_second_process_of_one_identity_do_not_lead_and_say_why(
    stage: OperatorStage,
) -> None:
    leader, directory = stage.leader, stage.stage.plan.directory
    common = ["--kubeconfig", str(stage.operator_kubeconfig(leader.name))]

    def start(name: str, command: list[str]) -> Operator:
        ports = free_ports(2)
        address = f"{LOOPBACK}:{ports[0]}"
        command += ["--http-address", address, "--xds-address", f"{LOOPBACK}:{ports[1]}"]
        return Operator(
            name, stage.stage.launch(name, [*command, "--state-dir", str(directory / name)]), address
        )

    late = [sys.executable, "-c", AN_HOUR_BEHIND, "operator", "run", "--identity", "late", *common]
    try:
        slow = start("late", late)
        twin = start("twin", [*RUN, "--identity", leader.name, *common])
        until(lambda: "clock: this machine's clock is 60 min behind" in stage.log("late"), "the clock")
        sentence = f"is held and renewed by another running process with the identity {leader.name}"
        until(lambda: sentence in stage.log("twin"), "the namesake to be named")
        twin_said = stage.log("twin")
        assert "give each process an --identity and a --state-dir of its own" in twin_said
        for other in (slow, twin):
            assert (other.is_running, other.metric("argosy_is_leader")) == (True, 0.0)
        assert leader.metric("argosy_is_leader") == 1.0
        leader.kill()
        until_equal(1.0, lambda: twin.metric("argosy_is_leader"), "the namesake to lead once it is alone")
        assert slow.metric("argosy_is_leader") == 0.0
    finally:
        stage.stage.end("late")
        stage.stage.end("twin")


@pytest.mark.timeout(120)
def test_two_envoys_with_one_node_id_on_two_replicas_of_the_operator_are_reported(
    stage: OperatorStage,
) -> None:
    leader, standby = stage.leader, stage.start_standby()

    def programmed() -> str:
        return str(condition(stage.read(f"{OURS}/fleets/default"), "Programmed").get("reason"))

    def has_envoy(operator: Operator) -> bool:
        return operator.metric("argosy_envoys_connected") == 1.0

    until(lambda: has_envoy(leader) != has_envoy(standby), "Envoy to be connected to one of them")
    other = standby if has_envoy(leader) else leader
    first = stage.stage.envoy.settings
    settings = replace(
        first,
        ads_addresses=((LOOPBACK, stage.xds_ports[other.name]),),
        directory=first.directory.with_name("second-envoy"),
    )
    assert settings.node_id == ENVOY_NODE
    with asyncio.Runner() as runner:
        second: Any = runner.run(EnvoyProcess.start(settings))
        try:
            began_s = time.monotonic()
            until_equal("EnvoysShareId", programmed, "Fleet to name the shared id")
            assert time.monotonic() - began_s < 45.0
            message = condition(stage.read(f"{OURS}/fleets/default"), "Programmed")["message"]
            assert message.startswith(f"2 Envoys are connected with the node id {ENVOY_NODE}, so")
        finally:
            runner.run(second.stop())
    until_equal("Programmed", programmed, "the condition to end with the second Envoy")


@pytest.mark.timeout(180)
def test_a_second_envoy_on_the_gateways_port_is_reported_with_port_and_remedy(stage: OperatorStage) -> None:
    def programmed() -> dict[str, Any]:
        return condition(stage.read(f"{OURS}/fleets/default"), "Programmed")

    first = stage.stage.envoy.settings
    settings = replace(first, node_id="other", directory=first.directory.with_name("other-envoy"))
    port = stage.read(f"{OURS}/fleets/default")["spec"]["gateway"]["port"]
    with asyncio.Runner() as runner:
        second: Any = runner.run(EnvoyProcess.start(settings))
        try:
            until_equal("EnvoyCannotListen", lambda: programmed().get("reason"), "Fleet to report the port")
            assert re.match(
                rf"Envoy other cannot listen on [^ ]*:{port}: Addr.*spec\.gateway", programmed()["message"]
            )
        finally:
            runner.run(second.stop())
    until_equal(
        "Programmed", lambda: programmed().get("reason"), "the condition to end with the second Envoy"
    )
