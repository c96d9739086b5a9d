"""Who acts, and what users notice of a change of that: nothing.

One shared stage: real API server, real Envoy, live fleet, operators as processes.
"""

from __future__ import annotations

import time
from datetime import datetime

from operator_stage import (
    LEASE,
    OURS,
    OperatorStage,
    Say,
    condition,
    is_observed,
    names,
    until,
    until_equal,
)

from argosy.xds.snapshot import revision_of

MOST_RESTARTS = 20
"""Envoy begins with either server by chance: once in a million times it would not have found the
standby. With 8, once in 256, it happened."""

LEASE_DURATION_S = 6.0
"""`LeaseSettings.duration_s`: a Lease that is given up is taken sooner, one that is not, later."""


def test_a_leader_killed_under_load_is_followed_without_a_lost_request_or_a_second_plan(
    stage: OperatorStage, say: Say
) -> None:
    leader, standby = stage.leader, stage.start_standby()
    plans, pods, versions = names(stage.plans()), names(stage.pods("chat")), stage.envoy_versions()
    revisions: list[int] = []

    def has_taken_over() -> bool:
        revisions.append(min(revision_of(v) for v in stage.envoy_versions().values()))
        return stage.holder() == standby.name

    with stage.load() as load:
        leader.kill()
        died_s = time.time()
        until(has_taken_over, "the standby to take over")
        say(f"failover after SIGKILL: {time.time() - died_s:.1f} s")
        until(standby.num_decisions, "its first decision")
        until(lambda: standby.metric("argosy_envoys_connected"), "Envoy to find it")
        assert (names(stage.plans()), names(stage.pods("chat"))) == (plans, pods)
        assert stage.envoy_versions() == versions

        stage.patch("wclass", "chat", minReplicas=3)
        until(lambda: len(stage.ready_pods("chat")) == 3, "the new leader to act")
        until(has_taken_over, "Envoy's versions once more")
        taken_s = time.time()
        until(lambda: load.num_since(taken_s) >= 4, "more answers")

    assert load.lost == ()
    assert len(set(names(stage.plans())) - set(plans)) == 1
    assert revisions == sorted(revisions)


def test_a_leader_that_ends_in_order_gives_the_lease_up_at_once(stage: OperatorStage, say: Say) -> None:
    leader, standby = stage.leader, stage.start_standby()
    with stage.load() as load:
        asked_s = time.time()
        leader.terminate()
        assert stage.holder() != leader.name
        until(lambda: stage.holder() == standby.name, "the standby to take over")
        # By the Lease: the leader may have held it no longer, and yet have been long in ending.
        taken_s = datetime.fromisoformat(stage.read(LEASE)["spec"]["acquireTime"]).timestamp()
        say(f"failover after SIGTERM: {taken_s - asked_s:.1f} s")
        until(lambda: load.num_since(taken_s) >= 4, "answers under the new leader")
    assert load.lost == ()
    assert taken_s - asked_s < LEASE_DURATION_S


def test_an_operator_that_is_killed_and_started_again_drops_no_request(stage: OperatorStage) -> None:
    operator, plans, versions = stage.leader, names(stage.plans()), stage.envoy_versions()
    with stage.load() as load:
        operator.kill()
        again = stage.start_operator(operator.name)
        until(again.num_decisions, "its first decision")
        until(lambda: again.metric("argosy_envoys_connected"), "Envoy to find it")
        assert (names(stage.plans()), stage.envoy_versions()) == (plans, versions)
        back_s = time.time()
        until(lambda: load.num_since(back_s) >= 4, "answers after the restart")
    assert load.lost == ()


def test_an_envoy_that_is_connected_to_the_standby_counts_in_the_fleets_status(stage: OperatorStage) -> None:
    leader, standby = stage.leader, stage.start_standby()

    def num_connected() -> tuple[float, float]:
        return leader.metric("argosy_envoys_connected"), standby.metric("argosy_envoys_connected")

    def until_known_to(num: int) -> None:
        until_equal(num, lambda: sum(num_connected()), f"{num} servers to know an Envoy")

    for _ in range(MOST_RESTARTS):
        until_known_to(1)
        if num_connected() == (0, 1):
            break
        stage.kill_envoy()
        until_known_to(0)
        stage.restart_envoy()
        until(lambda: not stage.answer().error, "the new Envoy to serve")
    assert num_connected() == (0, 1)

    def told() -> tuple[bool, int, str]:
        fleet = stage.read(f"{OURS}/fleets/default")
        programmed = condition(fleet, "Programmed")["status"]
        return is_observed(fleet), fleet["status"]["envoysConnected"], programmed

    # What the status said so far may be about an Envoy that was connected to the leader.
    stage.patch("fleet", "default", revisionHistoryLimit=19)
    until_equal((True, 1, "True"), told, "the leader to know of it")
    assert num_connected() == (0, 1)
    assert stage.holder() == leader.name
