"""Edits by hand around a whole operator in virtual time: made while it was away, healed and reported once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from builders import a_fleet
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell

from argosy.snapshot.cluster import LABEL_DEPLOYMENT, LABEL_GROUP, LABEL_MANAGED_BY


async def settled(directory: Path, num_nodes: int) -> VirtualShell:
    """Two replicas of `chat` serve; on one node of two GPUs the pool is full."""
    shell = VirtualShell(directory)
    shell.a_small_fleet(num_nodes=num_nodes)
    async with shell.running():
        await shell.clock.sleep(60.0)
    assert sum(shell.cluster.serving().values()) == 2
    return shell


def notes(shell: VirtualShell) -> list[str]:
    return [e["message"] for e in shell.server.of("events").values() if e["reason"] == "ChangedByHand"]


def with_image(deployment: dict[str, Any], image: str) -> dict[str, Any]:
    """As `kubectl set image` leaves it."""
    item = copy.deepcopy(deployment)
    item["spec"]["template"]["spec"]["containers"][0]["image"] = image
    fields: dict[str, Any] = {"f:image": {}}
    for name in ('k:{"name":"engine"}', "f:containers", "f:spec", "f:template", "f:spec"):
        fields = {name: fields}
    entry = {"manager": "kubectl-set", "operation": "Update", "time": "2026-01-01T00:00:01Z"}
    item["metadata"]["managedFields"] = [{**entry, "fieldsV1": fields}]
    return item


@in_virtual_time
@pytest.mark.parametrize("num_nodes", [1, 4], ids=["full pool", "room"])
async def test_a_template_edited_while_the_operator_was_away_is_healed_and_what_serves_stays(
    tmp_path: Path, num_nodes: int
) -> None:
    before = await settled(tmp_path, num_nodes)
    [(key, deployment)] = before.server.of("deployments").items()
    pods, plans = set(before.server.of("pods")), set(before.server.of("fleetplans"))
    before.server.put("deployments", with_image(deployment, "other:1"))
    shell = VirtualShell(tmp_path, before)
    async with shell.running():
        for _ in range(60):
            await shell.clock.sleep(2.0)
            assert sum(shell.cluster.serving().values()) == 2
    assert shell.server.of("deployments")[key]["spec"]["template"] == deployment["spec"]["template"]
    assert set(shell.server.of("pods")) == pods
    assert set(shell.server.of("fleetplans")) == plans
    [note] = notes(shell)
    assert "changed by kubectl-set" in note
    assert "-> other:1" in note
    again = VirtualShell(tmp_path, shell)
    async with again.running():
        await again.clock.sleep(60.0)
    assert notes(again) == [note]


@in_virtual_time
async def test_a_pod_deleted_by_hand_has_its_successor_one_event_and_one_count(tmp_path: Path) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    pod = min(shell.server.of("pods"))
    plans = set(shell.server.of("fleetplans"))
    async with shell.running():
        await shell.clock.sleep(40.0)
        shell.server.drop("pods", pod)
        await shell.clock.sleep(2.0)
        name = pod.partition("/")[2]
        assert notes(shell) == [f"pod {name} was deleted by another client: its successor starts"]
        await shell.clock.sleep(60.0)
    assert len(notes(shell)) == 1
    assert sum(shell.cluster.serving().values()) == 2
    assert set(shell.server.of("fleetplans")) == plans
    assert shell.state.metrics.set_back.labels("pod")._value.get() == 1


@in_virtual_time
@pytest.mark.parametrize("num_nodes", [1, 4], ids=["full pool", "room"])
async def test_a_pod_without_its_label_is_reported_and_removed(tmp_path: Path, num_nodes: int) -> None:
    shell = await settled(tmp_path, num_nodes)
    key = min(shell.server.of("pods"))
    async with shell.running():
        await shell.clock.sleep(40.0)
        item = copy.deepcopy(shell.server.of("pods")[key])
        del item["metadata"]["labels"][LABEL_DEPLOYMENT]
        shell.server.put("pods", item)
        await shell.clock.sleep(5.0)
        assert key in shell.server.of("pods")
        await shell.clock.sleep(235.0)
    assert key not in shell.server.of("pods")
    assert sum(shell.cluster.serving().values()) == 2
    [note] = notes(shell)
    assert f"label {LABEL_DEPLOYMENT} of pod {key.partition('/')[2]} was removed" in note


@in_virtual_time
async def test_a_pod_without_any_of_argosys_labels_is_never_touched(tmp_path: Path) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    key = min(shell.server.of("pods"))
    async with shell.running():
        item = copy.deepcopy(shell.server.of("pods")[key])
        item["metadata"]["labels"] = {"mine": "yes"}
        shell.server.put("pods", item)
        await shell.clock.sleep(240.0)
    assert key in shell.server.of("pods")
    assert sum(shell.cluster.serving().values()) == 2


@in_virtual_time
@pytest.mark.parametrize("mode", ["Observe", "Recommend"])
async def test_a_template_edited_in_a_mode_that_sets_nothing_back_is_no_longer_ready(
    tmp_path: Path, mode: str
) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    [(key, deployment)] = shell.server.of("deployments").items()
    async with shell.running():
        shell.apply(a_fleet(mode))
        await shell.clock.sleep(2.0)
        shell.server.put("deployments", with_image(deployment, "other:1"))
        await shell.clock.sleep(35.0)
    assert shell.server.of("deployments")[key]["spec"]["template"] != deployment["spec"]["template"]
    for plural, name, type in (
        ("servedmodels", "default/llama", "Ready"),
        ("workloadclasses", "default/chat", "Ready"),
        ("fleets", "default", "PlanCurrent"),
    ):
        conditions = shell.server.of(plural)[name]["status"]["conditions"]
        [found] = [c for c in conditions if c["type"] == type]
        assert (found["status"], found["reason"]) == ("False", "ModeNotAuto")
        assert f"Deployment {key} was changed by another client (" in found["message"]


def a_released_replica_set(shell: VirtualShell, deployment: str, *removed: str) -> dict[str, Any]:
    """As a Deployment leaves one from which a user has removed labels: it owns it no longer."""
    template = copy.deepcopy(shell.server.of("deployments")[deployment]["spec"]["template"])
    name = deployment.partition("/")[2]
    labels = {k: v for k, v in template["metadata"]["labels"].items() if k not in removed}
    metadata = {"name": f"{name}-5d4f", "namespace": "default", "labels": labels}
    return {"metadata": metadata, "spec": {"replicas": 2, "template": template}}


@in_virtual_time
async def test_a_replica_set_without_its_labels_gets_them_back_and_no_engine_restarts(tmp_path: Path) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    [deployment], pods = shell.server.of("deployments"), set(shell.server.of("pods"))
    item = a_released_replica_set(shell, deployment, LABEL_DEPLOYMENT, LABEL_GROUP, LABEL_MANAGED_BY)
    async with shell.running():
        await shell.clock.sleep(40.0)
        shell.server.put("replicasets", item)
        await shell.clock.sleep(60.0)
    [kept] = shell.server.of("replicasets").values()
    assert kept["metadata"]["labels"] == item["spec"]["template"]["metadata"]["labels"]
    assert set(shell.server.of("pods")) == pods
    [note] = notes(shell)
    name = deployment.partition("/")[2]
    assert note == (
        f"label {LABEL_MANAGED_BY}, {LABEL_DEPLOYMENT}, {LABEL_GROUP} of ReplicaSet {name}-5d4f was removed"
        f" or changed by another client, so that Deployment {name} no longer owns its replicas: set back"
    )


@in_virtual_time
async def test_a_replica_set_whose_deployment_is_neither_there_nor_planned_goes(tmp_path: Path) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    [deployment] = shell.server.of("deployments")
    item = a_released_replica_set(shell, deployment)
    for labels in (item["metadata"]["labels"], item["spec"]["template"]["metadata"]["labels"]):
        labels[LABEL_DEPLOYMENT] = "llama-zzzzzzz"
    other = {"metadata": {"name": "web", "namespace": "default"}, "spec": {}}
    async with shell.running():
        shell.server.put("replicasets", item)
        shell.server.put("replicasets", other)
        await shell.clock.sleep(60.0)
    assert set(shell.server.of("replicasets")) == {"default/web"}
    assert notes(shell) == []


@in_virtual_time
@pytest.mark.parametrize(
    ("finalizer", "holds"),
    [
        (
            "user.example/keep",
            "finalizer user.example/keep holds it (remove it from metadata.finalizers)",
        ),
        ("foregroundDeletion", "it goes once its replicas have finished their requests"),
    ],
)
async def test_a_deployment_whose_deletion_something_holds_is_reported_at_once_and_left_alone(
    tmp_path: Path, finalizer: str, holds: str
) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    [(key, deployment)] = shell.server.of("deployments").items()
    metadata = {
        **deployment["metadata"],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": [finalizer],
    }
    name = key.partition("/")[2]
    said = [
        f"Deployment {name} was deleted, and not by Argosy: what the plan has of it is made again once it is"
        f" gone: {holds}"
    ]
    async with shell.running():
        await shell.clock.sleep(40.0)
        begun = len(shell.server.calls)
        shell.server.put("deployments", {**deployment, "metadata": metadata})
        shell.server.drop("poddisruptionbudgets", key)
        await shell.clock.sleep(60.0)
        assert notes(shell) == said
        touched = ("deployments", "poddisruptionbudgets")
        assert [c for c in shell.server.calls[begun:] if c.verb != "list" and c.plural in touched] == []
        shell.server.drop("deployments", key)
        await shell.clock.sleep(60.0)
        assert list(shell.server.of("deployments")) == list(shell.server.of("poddisruptionbudgets")) == [key]
    assert notes(shell) == said


@in_virtual_time
async def test_an_object_whose_deletion_a_finalizer_holds_says_so(tmp_path: Path) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    held = (("workloadclasses", "default/chat"), ("servedmodels", "default/llama"), ("gpupools", "l40s"))
    async with shell.running():
        await shell.clock.sleep(40.0)
        for plural, key in held:
            item = shell.server.of(plural)[key]
            metadata = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["user.example/keep"]}
            shell.server.put(plural, {**item, "metadata": {**item["metadata"], **metadata}})
        await shell.clock.sleep(5.0)
    for plural, key in held:
        rows = shell.server.of(plural)[key]["status"]["conditions"]
        [accepted] = [row for row in rows if row["type"] == "Accepted"]
        assert accepted["status"] == "True"
        assert (
            "Its deletion was requested at 2026-01-01T00:00:00Z, and finalizer user.example/keep holds it"
            in accepted["message"]
        )


@in_virtual_time
async def test_in_a_namespace_that_is_being_deleted_nothing_is_made_and_its_class_says_since_when(
    tmp_path: Path,
) -> None:
    shell = await settled(tmp_path, num_nodes=4)
    [(key, _)] = shell.server.of("deployments").items()
    metadata = {"name": "default", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    async with shell.running():
        await shell.clock.sleep(40.0)
        shell.server.put("namespaces", {"metadata": metadata})
        shell.server.drop("poddisruptionbudgets", key)
        shell.server.drop("deployments", key)
        await shell.clock.sleep(60.0)
    assert shell.server.of("deployments") == shell.server.of("poddisruptionbudgets") == {}
    assert notes(shell) == []
    for plural, name in (("workloadclasses", "chat"), ("servedmodels", "llama")):
        assert shell.condition(plural, f"default/{name}", "Ready") == ("False", "NamespaceEnding")
    _, last = sorted(shell.server.of("fleetplans").items())[-1]
    assert [d for d in last["spec"]["deployments"] if d["replicas"]] == []
