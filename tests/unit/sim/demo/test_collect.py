"""From observations and logs to evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from demo_evidence import answered

from argosy_sim.demo.collect import RunFacts, collect
from argosy_sim.demo.evidence import Evidence, StaticPeak
from argosy_sim.demo.story import default_story
from argosy_sim.demo.watch import Observations

ORIGIN_S = 1000.0
CHAT = {"name": "apps/chat-l40s", "variant": "l40s-tp1", "sharingGroup": "apps/chat", "pool": "l40s"}


def plan(revision: int, replicas: int, **status: Any) -> dict[str, Any]:
    shares = [{"deployment": CHAT["name"], "share": 1.0}]
    cell = {"workloadClass": "apps/chat", "requestsPerSecond": 8.0, "shares": shares}
    spec = {
        "revision": revision,
        "trigger": "the planning interval has passed",
        "costUsdPerHour": 1.8,
        "deployments": [{**CHAT, "replicas": replicas}],
        "cells": [cell],
        "reasons": [{"message": "chat needs two"}],
    }
    conditions = [{"type": kind, "status": "True", "reason": reason} for kind, reason in status.items()]
    return {"spec": spec, "status": {"conditions": conditions}}


EVENTS = [
    {"event": "bound", "pod": "apps/chat-l40s-7d9f-x2x", "node": "l40s-1", "gpus": 1, "at": 1005.0},
    {"event": "ready", "pod": "apps/chat-l40s-7d9f-x2x", "address": "127.1.0.3:8000", "at": 1023.0},
    {"event": "bound", "pod": "other/web-7d9f-x2x", "node": "l40s-2", "gpus": 1, "at": 1006.0},
    {"event": "silent", "node": "l40s-1", "at": 1100.0},
]


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    events, records = tmp_path / "events.jsonl", tmp_path / "requests.jsonl"
    events.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    records.write_text(answered("chat-0", 1.0).to_json() + "\n")
    observed = Observations(
        healthy_s={"127.1.0.3:8000": 1023.4},
        requests=[
            (1002.0, {"apps/chat-l40s": 5, "xds": 9}),
            (1003.0, {"apps/chat-l40s": 8}),
            (1004.0, {"apps/chat-l40s": 2}),
        ],
        plans=[
            (1004.0, plan(1, 2)),
            (1004.5, plan(1, 2, Applied="Applied", Certified="NoSimulator")),
            (1090.0, plan(2, 0)),
        ],
        memory_bytes={"operator": 7},
    )
    facts = RunFacts(
        default_story(), ORIGIN_S, records, events, (), StaticPeak({}, ""), 18.0, "trace", None, ()
    )
    return collect(facts, observed)


def test_a_plan_is_dated_by_its_first_version_and_judged_by_all(evidence: Evidence) -> None:
    first, second = evidence.plans
    assert (first.revision, first.at_s, first.is_applied, first.passed_check) == (1, 4.0, True, True)
    assert (first.replicas, first.shares) == ({"l40s-tp1": 2}, {"chat": {"l40s-tp1": 1.0}})
    assert (second.at_s, second.replicas, second.is_applied, second.passed_check) == (90.0, {}, False, False)


def test_a_replica_has_its_classs_name_and_envoys_view_of_its_endpoint(evidence: Evidence) -> None:
    [replica] = evidence.replicas  # the pod that no plan has is none of the fleet's
    assert (replica.variant, replica.class_name, replica.pool) == ("l40s-tp1", "chat", "l40s")
    assert (replica.node, replica.gpus, replica.bound_s, replica.ready_s) == ("l40s-1", 1, 5.0, 23.0)
    assert replica.healthy_s == pytest.approx(23.4)
    assert (replica.unhealthy_s, replica.silent_s, replica.gone_s) == (None, None, None)


def test_shares_are_what_each_cluster_gained_since_the_sample_before(evidence: Evidence) -> None:
    assert [(s.at_s, s.by_class) for s in evidence.shares] == [
        (2.0, {"chat": {"l40s-tp1": 5}}),
        (3.0, {"chat": {"l40s-tp1": 3}}),
        (4.0, {"chat": {"l40s-tp1": 0}}),  # Envoy started anew
    ]


def test_requests_and_memory_are_passed_on(evidence: Evidence) -> None:
    assert [record.id for record in evidence.requests] == ["chat-0"]
    assert evidence.memory_bytes == {"operator": 7}


def test_the_shares_of_a_classs_cells_are_weighted_with_their_rates(tmp_path: Path) -> None:
    events, records = tmp_path / "events.jsonl", tmp_path / "requests.jsonl"
    events.write_text("")
    records.write_text(answered("chat-0", 1.0).to_json() + "\n")
    both = plan(1, 2)
    other = {**CHAT, "name": "apps/chat-h100", "variant": "h100-tp1", "pool": "h100", "replicas": 1}
    short, long = (
        {
            "workloadClass": "apps/chat",
            "requestsPerSecond": rate,
            "shares": [{"deployment": name, "share": 1.0}],
        }
        for name, rate in ((CHAT["name"], 6.0), (other["name"], 2.0))
    )
    both["spec"] |= {"deployments": [*both["spec"]["deployments"], other], "cells": [short, long]}
    observed = Observations(plans=[(1004.0, both)])
    facts = RunFacts(
        default_story(), ORIGIN_S, records, events, (), StaticPeak({}, ""), 18.0, "trace", None, ()
    )
    [found] = collect(facts, observed).plans
    assert found.shares == {"chat": {"l40s-tp1": 0.75, "h100-tp1": 0.25}}
