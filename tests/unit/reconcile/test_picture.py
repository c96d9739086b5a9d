"""The process in virtual time while kinds go and come back, watches are lost and clocks jump."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from builders import a_class, a_fleet, a_model, a_pool
from memory_api_server import INSTALLED, Call
from settled_shell import CHAT, engines, settled
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell, node_object

from argosy.api.kinds import CUSTOM
from argosy.api.schema.timestamp import rfc3339
from argosy.control.picture.doubt import routes_doubt
from argosy.snapshot.seen import SECOND_LOOK_S


def reinstalled(shell: VirtualShell) -> str:
    """Now, as the creation time of a definition."""
    return rfc3339(shell.clock.now_s())


def the_examples(shell: VirtualShell) -> None:
    shell.apply(a_fleet(), a_pool(), a_model(), a_class())


@in_virtual_time
async def test_kinds_that_are_deleted_and_installed_again_take_nothing_away(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    before = engines(shell)
    async with shell.running():
        shell.server.uninstall()
        await shell.clock.sleep(120.0)
        assert engines(shell) == before
        shell.server.install(reinstalled(shell))
        await shell.clock.sleep(60.0)
        assert engines(shell) == before, "the kinds are there and their objects are not"
        the_examples(shell)
        await shell.clock.sleep(5.0)
        assert engines(shell) == before
        assert shell.condition("workloadclasses", CHAT, "Ready") == ("True", "Ready")
        (plan,) = shell.server.of("fleetplans").values()
        assert plan["spec"]["revision"] == 2, "the plan is written again, under the next number"


@pytest.mark.parametrize("plural", CUSTOM)
@in_virtual_time
async def test_one_kind_that_goes_is_said_on_every_object_that_is_left(tmp_path: Path, plural: str) -> None:
    shell = await settled(tmp_path)
    before = engines(shell)
    async with shell.running():
        shell.server.uninstall(plural)
        await shell.clock.sleep(60.0)
        assert engines(shell) == before
        for kind, key in (("fleets", "default"), ("workloadclasses", CHAT), ("gpupools", "l40s")):
            if kind != plural:
                assert shell.condition(kind, key, "Ready") == ("Unknown", "PictureIncomplete")


@in_virtual_time
async def test_how_far_an_exchange_is_is_not_known_while_a_kind_is_missing(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        shell.apply(a_model(engine={"maxNumSeqs": 128}))
        await shell.clock.sleep(3.0)
        [key] = [k for k, p in shell.server.of("fleetplans").items() if p["spec"]["revision"] == 2]
        assert shell.condition("fleetplans", key, "Progressing") == ("True", "Exchanging")
        shell.server.uninstall("routerpolicies")
        await shell.clock.sleep(20.0)
        for type in ("Progressing", "RolledOut"):
            assert shell.condition("fleetplans", key, type) == ("Unknown", "PictureIncomplete")
        assert shell.condition("fleetplans", key, "Applied")[0] == "True"
        shell.server.install(reinstalled(shell), "routerpolicies")
        await shell.clock.sleep(90.0)
        assert shell.condition("fleetplans", key, "RolledOut") == ("True", "RolledOut")


@in_virtual_time
async def test_without_a_look_at_definitions_no_deletion_is_believed(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    before = engines(shell)
    shell.server.forbidden.add("customresourcedefinitions")
    async with shell.running():
        shell.server.drop("workloadclasses", CHAT)
        await shell.clock.sleep(300.0)
        assert engines(shell) == before
        assert shell.condition("fleets", "default", "Ready") == ("True", "OwnerNotSeen")
        shell.server.forbidden.clear()
        await shell.clock.sleep(60.0)
        assert engines(shell) == {}


@in_virtual_time
async def test_a_kind_that_may_not_be_listed_keeps_the_plan_until_it_may(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    before = engines(shell)
    async with shell.running():
        shell.server.forbidden.add("pods")
        await shell.clock.sleep(60.0)
        assert engines(shell) == before
        assert shell.condition("fleets", "default", "Ready") == ("Unknown", "PictureIncomplete")
        shell.server.forbidden.clear()
        await shell.clock.sleep(40.0)
        assert shell.condition("fleets", "default", "Ready") == ("True", "Ready")


# --- after a restart ------------------------------------------------------------------------------


@in_virtual_time
async def test_a_new_process_that_finds_engines_and_no_objects_keeps_them(tmp_path: Path) -> None:
    old = await settled(tmp_path)
    before = engines(old)
    old.server.uninstall()
    old.server.install(reinstalled(old))
    shell = VirtualShell(tmp_path, old)
    async with shell.running():
        await shell.clock.sleep(120.0)
        assert engines(shell) == before
        assert routes_doubt(shell.state.snapshot(), None, None) != ""
        shell.apply(a_fleet(), a_pool(), a_model())
        await shell.clock.sleep(120.0)
        assert engines(shell) == before, "everything but the class was applied"
        shell.apply(a_class())
        await shell.clock.sleep(60.0)
        assert engines(shell) == before
        assert shell.condition("workloadclasses", CHAT, "Ready") == ("True", "Ready")
        assert routes_doubt(shell.state.snapshot(), shell.state.snapshot().applied_plan, None) == ""


GONE: list[tuple[str, str]] = [
    ("workloadclasses", CHAT),
    ("servedmodels", "default/llama"),
    ("gpupools", "l40s"),
]


@pytest.mark.parametrize(("plural", "key"), GONE)
@in_virtual_time
async def test_what_was_deleted_while_no_process_ran_goes_at_the_second_look(
    tmp_path: Path, plural: str, key: str
) -> None:
    old = await settled(tmp_path)
    before = engines(old)
    shell = VirtualShell(tmp_path, old)
    shell.server.drop(plural, key)
    async with shell.running():
        await shell.clock.sleep(SECOND_LOOK_S - 5.0)
        assert engines(shell) == before
        await shell.clock.sleep(2 * SECOND_LOOK_S)
        if plural == "workloadclasses":
            assert engines(shell) == {}
        else:
            assert shell.condition("workloadclasses", CHAT, "Ready")[0] == "False"


@pytest.mark.parametrize(("plural", "key"), GONE)
@in_virtual_time
async def test_what_went_with_its_definition_while_no_process_ran_is_kept(
    tmp_path: Path, plural: str, key: str
) -> None:
    old = await settled(tmp_path)
    before = engines(old)
    old.server.uninstall(plural)
    await old.clock.sleep(5.0)
    old.server.install(reinstalled(old), plural)
    shell = VirtualShell(tmp_path, old)
    async with shell.running():
        await shell.clock.sleep(300.0)
        assert engines(shell) == before
        assert shell.condition("fleets", "default", "Ready") == ("True", "OwnerNotSeen")


# --- objects that cannot be read ------------------------------------------------------------------

UNREADABLE: list[tuple[str, str, Callable[[dict[str, object]], object]]] = [
    ("workloadclasses", CHAT, lambda spec: spec.update(slo={"ttft": {"p95Milliseconds": -5}})),
    ("servedmodels", "default/llama", lambda spec: spec.update(modelId=5, engine={"maxNumSeqs": "many"})),
    ("gpupools", "l40s", lambda spec: spec.update(gpusPerNode=0)),
]


@pytest.mark.parametrize(("plural", "key", "spoil"), UNREADABLE)
@in_virtual_time
async def test_an_object_that_becomes_unreadable_is_used_as_it_last_could_be_read(
    tmp_path: Path, plural: str, key: str, spoil: Callable[[dict[str, object]], object]
) -> None:
    shell = await settled(tmp_path)
    before = engines(shell)
    async with shell.running():
        body = shell.server.of(plural)[key]
        spec = dict(body["spec"])
        spoil(spec)
        shell.server.put(plural, {**body, "spec": spec})
        await shell.clock.sleep(120.0)
        assert engines(shell) == before
        assert shell.condition(plural, key, "Accepted") == ("False", "InvalidSpec")
        assert shell.condition(plural, key, "Ready") == ("True", "LastReadableUsed")


@pytest.mark.parametrize(("plural", "key", "spoil"), UNREADABLE)
@in_virtual_time
async def test_an_unreadable_object_of_which_a_new_process_knows_no_version_keeps_what_it_owns(
    tmp_path: Path, plural: str, key: str, spoil: Callable[[dict[str, object]], object]
) -> None:
    old = await settled(tmp_path)
    before = engines(old)
    shell = VirtualShell(tmp_path, old)
    body = shell.server.of(plural)[key]
    spec = dict(body["spec"])
    spoil(spec)
    shell.server.put(plural, {**body, "spec": spec})
    async with shell.running():
        await shell.clock.sleep(300.0)
        assert engines(shell) == before
        assert shell.condition(plural, key, "Accepted") == ("False", "InvalidSpec")
        assert shell.condition(plural, key, "Ready") == ("True", "KeptUnread")


# --- watches --------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_edit_that_a_lost_watch_does_not_report_is_found_within_seconds_and_counted(
    tmp_path: Path,
) -> None:
    shell = await settled(tmp_path)
    async with shell.running():
        await shell.clock.sleep(20.0)
        shell.server.silent.add("workloadclasses")
        shell.apply(a_class(rate_per_s=12.0))
        await shell.clock.sleep(8.0)
        assert list(engines(shell).values()) == [3]
        await shell.clock.sleep(5.0)
        assert shell.missed == {"workloadclasses": 1}
        await shell.clock.sleep(60.0)
        assert shell.missed == {"workloadclasses": 1}, "a change is missed once"


@in_virtual_time
async def test_a_watch_that_reports_everything_has_missed_nothing(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    async with shell.running(traffic=True):
        for rate_per_s in (12.0, 4.0, 8.0):
            shell.apply(a_class(rate_per_s=rate_per_s))
            await shell.clock.sleep(40.0)
        assert shell.missed == {}


@in_virtual_time
async def test_a_process_that_starts_before_any_kind_is_installed_takes_them_up_within_seconds(
    tmp_path: Path,
) -> None:
    shell = VirtualShell(tmp_path)
    shell.server.uninstall()
    shell.server.put("nodes", node_object("l40s-0"))
    async with shell.running():
        await shell.clock.sleep(100.0)
        shell.server.install(INSTALLED)
        the_examples(shell)
        await shell.clock.sleep(5.0)
        assert list(engines(shell).values()) == [2]


@in_virtual_time
async def test_an_api_server_that_is_away_for_ten_minutes_changes_nothing(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    before, plans = engines(shell), len(shell.server.of("fleetplans"))
    async with shell.running(traffic=True):
        await shell.clock.sleep(40.0)
        shell.refuse(Call("", ""))
        await shell.clock.sleep(600.0)
        assert shell.state.snapshot().seen.problems(shell.clock.monotonic_s()) != ()
        shell.refuse_nothing()
        await shell.clock.sleep(40.0)
        assert (engines(shell), len(shell.server.of("fleetplans"))) == (before, plans)
        assert shell.condition("fleets", "default", "Ready") == ("True", "Ready")


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
@pytest.mark.parametrize("source", ["Declared", "Observed", "LargerOfBoth"])
@in_virtual_time
async def test_a_clock_that_jumps_an_hour_takes_nothing_away(
    tmp_path: Path, jump_s: float, source: str
) -> None:
    shell = VirtualShell(tmp_path)
    shell.a_small_fleet()
    traffic = {"requestsPerSecond": 8.0, "lengths": {"archetype": "azure-conversation"}, "source": source}
    shell.apply(a_class(traffic=traffic))
    shell.scraper.answer = shell.counting(8.0)
    async with shell.running(traffic=True):
        await shell.clock.sleep(300.0)
        before = engines(shell)
        assert sum(before.values()) >= 2
        shell.clock.jump(jump_s)
        for _ in range(30):
            await shell.clock.sleep(5.0)
            assert all(now >= before[key] for key, now in engines(shell).items())
            assert engines(shell).keys() >= before.keys()


@in_virtual_time
async def test_what_a_new_process_may_list_only_later_was_not_created_then(tmp_path: Path) -> None:
    shell = await settled(tmp_path)
    spec = {"targetRefs": [{"name": "chat"}]}
    shell.server.put(
        "routerpolicies", {"metadata": {"namespace": "default", "name": "default"}, "spec": spec}
    )
    shell.server.forbidden.add("routerpolicies")
    fresh = VirtualShell(tmp_path, before=shell)
    async with fresh.running():
        await fresh.clock.sleep(40.0)
        fresh.server.forbidden.clear()
        await fresh.clock.sleep(10.0)
        assert "default/default" in fresh.store.of("routerpolicies")
    assert "the operator may list routerpolicies now" in fresh.decider.triggers
    assert not [trigger for trigger in fresh.decider.triggers if "created" in trigger]
    assert len(fresh.server.of("fleetplans")) == 1, "no revision where the plan does not change"
