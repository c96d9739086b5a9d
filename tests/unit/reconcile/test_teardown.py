"""`argosy down` in virtual time, against an API server in memory whose pods take their time to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import a_class, a_fleet, a_model, a_pool
from memory_api_server import Call, MemoryApiServer
from virtual_clock import VirtualClock, in_virtual_time
from virtual_shell import VirtualShell

from argosy.api.schema.timestamp import rfc3339, rfc3339_micro
from argosy.errors import ActuationError, NextStep, Obstacle
from argosy.exit_codes import ExitCode
from argosy.kube.store import object_key
from argosy.reconcile.leadership import NONCE
from argosy.reconcile.teardown import Order, Outcome, Teardown, explanation

REPOSITORY = Path(__file__).parents[3]
DRAIN_S = 30
LABELS = {"app.kubernetes.io/managed-by": "argosy", "argosy.dev/deployment": "m-1"}
MADE = ("deployments", "pods", "poddisruptionbudgets", "fleetplans", "leases")


class World:
    """A Deployment with two replicas, its budget and plan, the Leases and users' objects.

    ends_after_s: how long a replica takes to finish its requests
    """

    def __init__(self, mode: str = "Auto", ends_after_s: float = 12.0) -> None:
        self.server, self.clock, self.ends_after_s = MemoryApiServer(), VirtualClock(), ends_after_s
        for item in (a_fleet(mode), a_model(), a_pool()):
            self.server.put(type(item).PLURAL, item.to_object())
        named = {"name": "m-1", "namespace": "default", "labels": LABELS}
        self.server.put("deployments", {"metadata": named})
        self.server.put("poddisruptionbudgets", {"metadata": named})
        self.server.put("deployments", {"metadata": {"name": "web", "namespace": "default"}})
        for number in (1, 2):
            metadata = {**named, "name": f"m-1-{number}"}
            spec = {"terminationGracePeriodSeconds": DRAIN_S, "nodeName": "node-1"}
            self.server.put("pods", {"metadata": metadata, "spec": spec})
        self.server.put("fleetplans", {"metadata": {"name": "plan-000001"}})
        self.put_lease("argosy-operator", holder="op-0")
        listed = {"argosy.dev/lists-envoys": "true"}
        metadata = {"name": "argosy-envoys-op-0", "namespace": "argosy-system", "labels": listed}
        self.server.put("leases", {"metadata": metadata, "spec": {"leaseDurationSeconds": 12}})
        self.server.put("leases", {"metadata": {"name": "node-1", "namespace": "kube-node-lease"}})
        self.server.watchers.append(self._seen)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.agrees = True

    def put_lease(self, name: str, holder: str) -> None:
        metadata = {"name": name, "namespace": "argosy-system", "annotations": {NONCE: "nonce-1"}}
        renewed = rfc3339_micro(self.clock.now_s())
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 6, "renewTime": renewed}
        self.server.put("leases", {"metadata": metadata, "spec": spec})

    def _seen(self, type: str, plural: str, item: dict[str, Any]) -> None:
        """Kubernetes' controllers and kubelets: pods end after their Deployment."""
        if type != "DELETED" or plural not in ("deployments", "replicasets"):
            return
        maker = item["metadata"]["name"] if plural == "replicasets" else ""
        pods = [p for p in self.server.of("pods").values() if p["metadata"].get("generateName", "") == maker]
        for pod in pods:
            ends = rfc3339(self.clock.now_s() + DRAIN_S)
            self.server.put("pods", {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": ends}})
            asyncio.get_running_loop().call_later(
                self.ends_after_s, self.server.drop, "pods", object_key(pod)
            )

    def orphan_a_replica(self) -> None:
        """`kubectl delete deployment m-2 --cascade=orphan` has left its ReplicaSet with one pod."""
        named = {
            "name": "m-2-5b",
            "namespace": "default",
            "labels": {**LABELS, "argosy.dev/deployment": "m-2"},
        }
        self.server.put("replicasets", {"metadata": named})
        owners = [{"kind": "ReplicaSet", "name": "m-2-5b", "controller": True}]
        metadata = {**named, "name": "m-2-5b-1", "generateName": "m-2-5b", "ownerReferences": owners}
        spec = {"terminationGracePeriodSeconds": DRAIN_S, "nodeName": "node-1"}
        self.server.put("pods", {"metadata": metadata, "spec": spec})
        counted = [{"kind": "Deployment", "name": "m-1", "controller": True}]
        own = {"name": "m-1-5b", "namespace": "default", "labels": LABELS, "ownerReferences": counted}
        self.server.put("replicasets", {"metadata": own})

    def _agree(self, intention: str) -> bool:
        self.asked.append(intention)
        return self.agrees

    async def down(self, *, everything: bool = False, timeout_s: float = 600.0) -> Outcome:
        order = Order(everything, timeout_s)
        return await Teardown(self.server, self.clock, order, self.said.append).run(self._agree)

    def left(self) -> dict[str, list[str]]:
        """What is there of the kinds that Argosy makes objects of."""
        return {plural: sorted(self.server.of(plural)) for plural in MADE if self.server.of(plural)}

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[None]:
        """An operator that leads and renews its Lease."""

        async def renew() -> None:
            while True:
                self.put_lease("argosy-operator", holder="op-0")
                await self.clock.sleep(1.0)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


FOREIGN = {"deployments": ["default/web"], "leases": ["kube-node-lease/node-1"]}
"""What is not Argosy's."""


@in_virtual_time
async def test_all_that_argosy_made_goes_once_the_killed_operators_lease_has_expired() -> None:
    world = World()
    outcome = await world.down()
    assert outcome == Outcome(
        ExitCode.OK,
        "removed 1 Deployment, 1 PodDisruptionBudget, 1 FleetPlan and 2 Leases with 2 replicas; nothing of"
        " Argosy's is left",
    )
    assert world.left() == FOREIGN
    assert list(world.server.of("servedmodels")) == ["default/llama"]
    assert list(world.server.of("fleets")) == ["default"]
    assert len(world.asked) == 1
    # 7 s until the Lease is known to be stale, 12 s of draining, a sentence every 5 s.
    assert world.clock.monotonic_s() < 25.0
    assert len(world.said) == 3
    assert set(world.said) == {"2 replicas finish their requests, until 22:13:58 UTC at the latest"}


@in_virtual_time
async def test_a_replica_set_whose_deployment_was_deleted_without_it_goes_after_the_same_drain() -> None:
    world = World()
    world.orphan_a_replica()
    outcome = await world.down()
    assert outcome.sentence.startswith(
        "removed 1 Deployment, 1 ReplicaSet, 1 PodDisruptionBudget, 1 FleetPlan and 2 Leases with 3 replicas"
    )
    deleted = [
        call.key for call in world.server.calls if (call.verb, call.plural) == ("delete", "replicasets")
    ]
    assert deleted == ["default/m-2-5b"], "not the one that goes with its Deployment"
    assert "3 replicas finish their requests, until " in world.said[0]
    assert world.left() == FOREIGN


@in_virtual_time
async def test_a_second_run_finds_nothing_and_asks_nothing() -> None:
    world = World()
    await world.down()
    world.asked.clear()
    assert await world.down() == Outcome(ExitCode.OK, "nothing of Argosy's is left")
    assert world.asked == []


@in_virtual_time
async def test_a_released_lease_is_not_waited_for() -> None:
    world = World(ends_after_s=0.5)
    world.put_lease("argosy-operator", holder="")
    assert (await world.down()).code is ExitCode.OK
    assert world.clock.monotonic_s() < 3.0


@in_virtual_time
async def test_while_an_operator_leads_in_mode_auto_nothing_is_removed() -> None:
    world = World()
    before = world.left()
    async with world.operator():
        outcome = await world.down()
    assert outcome.code is ExitCode.BAD_INPUT
    assert "op-0 leads in mode Auto" in outcome.sentence
    assert world.left() == before
    assert world.asked == []
    assert world.clock.monotonic_s() < 3.0


@in_virtual_time
async def test_an_operator_that_begins_to_lead_while_replicas_drain_ends_the_run() -> None:
    world = World(ends_after_s=DRAIN_S)
    run = asyncio.create_task(world.down())
    await world.clock.sleep(15.0)
    async with world.operator():
        outcome = await run
    assert outcome.code is ExitCode.BAD_INPUT
    assert list(world.server.of("fleetplans")) == ["plan-000001"], "the operator's own decision stays"


@in_virtual_time
async def test_beside_an_operator_in_mode_observe_only_its_leases_stay() -> None:
    world = World(mode="Observe")
    async with world.operator():
        outcome = await world.down()
    assert outcome.code is ExitCode.OK
    assert "nothing of Argosy's is left but what the operator op-0 writes while it runs" in outcome.sentence
    assert sorted(world.left()) == ["deployments", "leases"]
    assert world.left()["deployments"] == ["default/web"]


@in_virtual_time
async def test_without_an_agreement_nothing_is_removed() -> None:
    world = World()
    world.agrees, before = False, world.left()
    assert await world.down() == Outcome(ExitCode.BAD_INPUT, "nothing was removed")
    assert world.left() == before
    assert world.asked == [
        "removes 1 Deployment, 1 PodDisruptionBudget, 1 FleetPlan and 2 Leases and ends 2 replicas once their"
        " requests have finished, 30 s at most; your own objects stay"
    ]


@in_virtual_time
async def test_at_the_time_out_it_says_what_is_left_and_the_next_run_goes_on() -> None:
    world = World(ends_after_s=20.0)
    outcome = await world.down(timeout_s=6.0)
    assert outcome.code is ExitCode.NOT_KEPT
    assert outcome.sentence.startswith("after 6 s: 2 replicas finish their requests, until 22:13:58 UTC")
    assert (await world.down()).code is ExitCode.OK
    assert world.left() == FOREIGN


@in_virtual_time
async def test_with_all_the_users_objects_go_too() -> None:
    world = World()
    outcome = await world.down(everything=True)
    assert outcome.code is ExitCode.OK
    assert world.left() == FOREIGN
    assert not any(world.server.of(plural) for plural in ("fleets", "gpupools", "servedmodels"))


@in_virtual_time
async def test_what_shares_a_label_with_argosys_objects_stays_and_is_not_waited_for() -> None:
    world = World()
    other = {"name": "other", "namespace": "default", "labels": {"app.kubernetes.io/managed-by": "argosy"}}
    for plural in ("deployments", "pods"):
        world.server.put(plural, {"metadata": other})
    outcome = await world.down()
    assert outcome.code is ExitCode.OK
    assert "1 Deployment," in outcome.sentence
    assert "with 2 replicas" in outcome.sentence
    assert "default/other" not in [call.key for call in world.server.calls if call.verb == "delete"]
    assert sorted(world.server.of("deployments")) == ["default/other", "default/web"]


@in_virtual_time
async def test_without_all_users_objects_need_not_be_readable() -> None:
    world = World()
    world.server.forbidden |= {"servedmodels", "workloadclasses", "gpupools", "routerpolicies"}
    assert (await world.down()).code is ExitCode.OK


@in_virtual_time
async def test_where_the_custom_resources_are_gone_their_engines_still_go() -> None:
    world = World()
    world.server.uninstall()
    outcome = await world.down(everything=True)
    assert outcome.code is ExitCode.OK
    assert world.left() == FOREIGN
    assert "Fleet" in world.asked[0]
    assert "not installed" in world.asked[0]


@in_virtual_time
async def test_an_operator_whose_mode_is_not_known_is_refused() -> None:
    world = World()
    world.server.uninstall()
    async with world.operator():
        outcome = await world.down(everything=True)
    assert outcome.code is ExitCode.BAD_INPUT
    assert "no Fleet/default and no FleetPlan says in which mode" in outcome.sentence


@in_virtual_time
async def test_a_verb_that_is_forbidden_ends_the_run_at_once() -> None:
    world = World()

    def refuse(call: Call) -> NextStep | None:
        return NextStep.RETRY if (call.verb, call.plural) == ("delete", "poddisruptionbudgets") else None

    world.server.refusal, world.server.status = refuse, 403
    world.server.obstacle = Obstacle.FORBIDDEN
    with pytest.raises(ActuationError) as caught:
        await world.down()
    assert "use an administrator's kubeconfig (--kubeconfig)" in explanation(caught.value)


@in_virtual_time
async def test_an_api_server_that_is_away_for_a_while_is_waited_for() -> None:
    world = World()
    run = asyncio.create_task(world.down())
    await world.clock.sleep(12.0)
    world.server.refusal = lambda call: NextStep.RETRY
    await world.clock.sleep(20.0)
    assert any("refused by the test; start it, or name the kubeconfig" in line for line in world.said)
    world.server.refusal = lambda call: None
    assert (await run).code is ExitCode.OK
    assert world.left() == FOREIGN


@in_virtual_time
async def test_an_api_server_that_stays_away_is_named_at_the_time_out() -> None:
    world = World()
    run = asyncio.create_task(world.down(timeout_s=20.0))
    await world.clock.sleep(12.0)
    world.server.refusal = lambda call: NextStep.RETRY
    outcome = await run
    assert outcome.code is ExitCode.NOT_KEPT
    assert "refused by the test" in outcome.sentence
    assert "when it last answered" in outcome.sentence


@in_virtual_time
async def test_with_all_a_running_operator_drains_before_the_rest_is_removed(tmp_path: Path) -> None:
    shell, said = VirtualShell(tmp_path), list[str]()
    shell.a_small_fleet()
    async with shell.running():
        await shell.clock.sleep(60.0)
        assert len(shell.server.of("pods")) == 2
        world = World.__new__(World)
        world.server, world.clock = shell.server, shell.clock
        async with world.operator():
            await shell.clock.sleep(1.0)
            order = Order(everything=True, timeout_s=300.0)
            outcome = await Teardown(shell.server, shell.clock, order, said.append).run(lambda _: True)
        assert outcome.code is ExitCode.OK
        assert any("replicas serve until the operator op-0 drains them" in line for line in said)
        assert not any(shell.server.of(plural) for plural in ("deployments", "pods", "poddisruptionbudgets"))
        assert not any(shell.server.of(plural) for plural in ("fleets", "gpupools", "workloadclasses"))
        removed = [c.plural for c in shell.server.calls if c.verb == "delete"]
        assert removed.index("workloadclasses") < removed.index("deployments"), "the operator's own deletion"


def allowed(role: str) -> set[tuple[str, str]]:
    """Verb and plural of each rule in a file of roles."""
    documents = yaml.safe_load_all((REPOSITORY / "charts/argosy/files" / role).read_text())
    rules = [rule for document in documents for rule in document.get("rules", ())]
    return {(v, plural) for rule in rules for plural in rule["resources"] for v in rule["verbs"]}


@in_virtual_time
async def test_the_role_for_uninstalling_allows_what_down_with_all_asks_for_and_nothing_more() -> None:
    world = World(mode="Observe")
    world.server.put("workloadclasses", a_class().to_object())
    world.orphan_a_replica()
    world.server.put("routerpolicies", {"metadata": {"name": "p", "namespace": "default"}})
    outcome = await world.down(everything=True)
    assert outcome.code is ExitCode.OK
    asked = {(call.verb, call.plural) for call in world.server.calls}
    assert asked == allowed("uninstall-rbac.yaml")
