"""The folders of `examples`: valid, complete, and what the documents say they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from argosy.api import KINDS, CustomResource, Fleet, GPUPool, RouterPolicy, ServedModel, WorkloadClass
from argosy.api.fleet import Mode

EXAMPLES = Path(__file__).parents[3] / "examples"
KIND_BY_NAME = {kind.KIND: kind for kind in KINDS}


def objects(name: str) -> list[CustomResource]:
    found = []
    for path in sorted((EXAMPLES / name).glob("*.yaml")):
        for obj in yaml.safe_load_all(path.read_text("utf-8")):
            value = KIND_BY_NAME[obj["kind"]].from_object(obj)
            assert isinstance(value, CustomResource), f"{path.name}: {value}"
            found.append(value)
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small", {"Fleet": 1, "GPUPool": 2, "ServedModel": 1, "WorkloadClass": 2, "RouterPolicy": 1}),
        ("adapters", {"ServedModel": 1, "WorkloadClass": 1}),
        ("large", {"Fleet": 1, "GPUPool": 4, "ServedModel": 3, "WorkloadClass": 6, "RouterPolicy": 2}),
    ],
)
def test_a_set_holds_what_it_promises(name: str, expected: dict[str, int]) -> None:
    assert Counter(obj.KIND for obj in objects(name)) == expected


def test_the_autoscaled_pool_starts_at_zero_nodes() -> None:
    [pool] = objects("autoscaled")
    assert isinstance(pool, GPUPool)
    assert pool.spec.nodes is not None
    assert (pool.spec.nodes.min, pool.spec.nodes.max, pool.spec.provisioning_seconds) == (0, 6, 240)


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_set_acts_on_its_own(name: str) -> None:
    [fleet] = [obj for obj in objects(name) if isinstance(obj, Fleet)]
    assert (fleet.key, fleet.spec.mode) == ("default", Mode.AUTO)


@pytest.mark.parametrize("name", ["small", "large"])
def test_all_references_of_a_set_lead_somewhere(name: str) -> None:
    found = objects(name)
    models = {obj.key: obj for obj in found if isinstance(obj, ServedModel)}
    classes = [obj for obj in found if isinstance(obj, WorkloadClass)]
    targets = [
        f"{policy.metadata.namespace}/{target.name}"
        for policy in found
        if isinstance(policy, RouterPolicy)
        for target in policy.spec.target_refs
    ]
    for workload in classes:
        allowed = [models[f"{workload.metadata.namespace}/{model.name}"] for model in workload.spec.models]
        answered = {served for model in allowed for served in model.served_names}
        assert set(workload.spec.match.models) <= answered
    assert len(targets) == len(set(targets))
    assert set(targets) <= {workload.key for workload in classes}


def test_the_small_set_is_the_world_of_the_demo() -> None:
    pools = {obj.key: obj.spec for obj in objects("small") if isinstance(obj, GPUPool)}
    assert {
        name: (spec.gpu, spec.gpus_per_node, spec.price_usd_per_hour) for name, spec in pools.items()
    } == {
        "l40s": ("L40S", 2, 0.9),
        "h100": ("H100", 2, 6.0),
    }
    classes = {obj.key: obj.spec for obj in objects("small") if isinstance(obj, WorkloadClass)}
    assert {name: (spec.traffic.requests_per_second, spec.priority) for name, spec in classes.items()} == {
        "default/chat": (8, 200),
        "default/batch": (0.3, 50),
    }


def test_the_large_set_shows_every_way_to_recognise_a_class() -> None:
    matches = [obj.spec.match for obj in objects("large") if isinstance(obj, WorkloadClass)]
    ways = {(m.path is not None, bool(m.headers), bool(m.models)) for m in matches}
    assert {(True, False, False), (False, True, False), (False, False, True)} <= ways


def test_the_small_set_needs_no_header_for_chat_and_one_for_batch() -> None:
    matches = {obj.key: obj.spec.match for obj in objects("small") if isinstance(obj, WorkloadClass)}
    assert matches["default/chat"].models == matches["default/batch"].models == ("llama-8b",)
    assert matches["default/chat"].headers == ()
    assert [(h.name, h.value) for h in matches["default/batch"].headers] == [("x-argosy-class", "batch")]
