"""Which engine teaches which calibration, what plans use of it, and what users read."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from calibrated_fleet import LLAMA, PERF, a_memory, a_world, remembering, subjects_of, with_health
from small_fleet import START_S, FakePerf, World, a_class, a_fleet, a_model, a_pool, body_of

from argosy.control.candidates.calibration import (
    CalibratedVariant,
    VariantKey,
    calibrated_variant,
    calibration_key,
    corrected,
    engine_version,
    learn,
    priors_of,
    running_variants,
)
from argosy.control.candidates.variants import variants_of
from argosy.control.memory import TrafficMemory
from argosy.perf.host import OVERLAPPED
from argosy.perf.profile import HOST_OVERHEAD, Calibration, ProfileKey, Shape
from argosy.perf.protocol import OutOfRange
from argosy.perf.recalibration.features import Row
from argosy.perf.recalibration.fit import Observation, learnt
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.perf.recalibration.window import SkipReason
from argosy.snapshot import CounterReading, Dtype, EngineReading, Sample, TelemetryReading, Variant
from argosy.snapshot.cluster import LABEL_VARIANT


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("vllm/vllm-openai:v0.24.0", "v0.24.0", id="a tag"),
        pytest.param("registry:5000/vllm", "latest", id="a port is no tag"),
        pytest.param("registry:5000/vllm:nightly", "nightly", id="a port and a tag"),
        pytest.param("vllm@sha256:0a", "sha256:0a", id="a digest"),
        pytest.param("vllm:v1@sha256:0a", "v1", id="a tag and a digest"),
        pytest.param("vllm:", "latest", id="an empty tag"),
    ],
)
def test_the_engines_version_is_the_images_tag(image: str, expected: str) -> None:
    assert engine_version(image) == expected


def the_variant(model_id: str = LLAMA, gpu: str = "L40S", **engine: Any) -> Variant:
    world = World([], a_pool(gpu=gpu), a_model(model_id=model_id, engine=engine))
    snapshot = world.snapshot()
    (variant,) = variants_of(snapshot, snapshot.models["default/llama"])
    return variant


def the_subject(variant: Variant) -> CalibratedVariant:
    found = calibrated_variant(variant, PERF)
    assert found is not None
    return found


def test_a_stated_version_is_the_keys() -> None:
    key = calibration_key(the_variant(image="vllm/vllm-openai:latest", version="0.15.1"))
    assert key is not None
    assert key.engine_version == "0.15.1"


def test_a_key_is_the_profile_and_the_engines_version() -> None:
    key = calibration_key(the_variant(image="vllm/vllm-openai:v0.25.1"))
    assert key is not None
    assert key.profile == ProfileKey("L40S", "llama-3.1-8b", Dtype.BF16, Shape(1))
    assert key.engine_version == "v0.25.1"


@pytest.mark.parametrize("unknown", [{"model_id": "some/finetune"}, {"gpu": "RTX-9090"}])
def test_what_the_catalogue_does_not_know_has_no_key(unknown: dict[str, str]) -> None:
    variant = the_variant(**unknown)
    assert (calibration_key(variant), calibrated_variant(variant, PERF)) == (None, None)


def test_learning_starts_where_plans_start() -> None:
    variant = the_variant()
    source = PERF.step_times(variant)
    assert not isinstance(source, OutOfRange)
    host, times = the_subject(variant).prior.host, source.step_times(1, 1)
    assert host == OVERLAPPED.exposed
    assert (host.s, host.c0, host.cb) == (times.s, times.c0, times.cb)
    assert the_subject(variant).prior.digest == source.digest()
    old = the_variant(image="vllm/vllm-openai:v0.11.2")
    assert the_subject(old).prior.host == HOST_OVERHEAD


def test_the_prior_of_a_corrected_model_is_still_the_uncorrected_profile() -> None:
    variant = the_variant()
    known = the_subject(variant)
    changed = PERF.with_calibrations({known.key.profile: Calibration(2.0, 5.0, 0.1)})
    again = calibrated_variant(variant, changed)
    assert again is not None
    assert (again.prior.digest, again.prior.host) == (known.prior.digest, known.prior.host)
    assert changed.step_times(variant).digest() != known.prior.digest  # type: ignore[union-attr]


def test_unlike_engines_of_one_profile_share_a_prior_that_the_larger_one_fits() -> None:
    small, large = the_subject(the_variant(maxNumSeqs=64)), the_subject(the_variant(maxNumSeqs=512))
    assert small.key == large.key
    priors = priors_of({("a", "small"): small, ("b", "large"): large})
    assert len(priors[small.key].step_times.decode_ms) - 1 == 512


def test_of_unlike_profiles_under_one_key_the_first_models_counts() -> None:
    ours = the_subject(the_variant())
    theirs = replace(ours, prior=replace(ours.prior, digest="measured by somebody"))
    assert priors_of({("b", "v"): theirs, ("a", "v"): ours})[ours.key].digest == ours.prior.digest
    assert priors_of({("b", "v"): ours, ("a", "v"): theirs})[ours.key].digest == theirs.prior.digest


# --- one round of learning ----------------------------------------------------------------------


def counters(seconds: float) -> CounterReading:
    return CounterReading(
        iterations=30.0 * seconds,
        gaps=300.0 * seconds,
        gap_s=10.0 * seconds,
        prompts=2.0 * seconds,
        prompt_tokens=2000.0 * seconds,
        cached_prompt_tokens=0.0,
        preemptions=0.0,
        num_running=10.0,
        kv_cache_usage=0.05,
        kv_blocks=27_000.0,
        block_size=16.0,
        start_time_s=START_S - 36_000.0,
    )


def watch(
    world: World,
    seconds: float = 16.0,
    shows_counters: bool = True,
    subjects: Mapping[VariantKey, CalibratedVariant] | None = None,
) -> tuple[int, list[SkipReason]]:
    """Windows judged and reasons to skip, of rounds every 2 s."""
    memory = TrafficMemory()
    skips: list[SkipReason] = []
    num_windows = 0
    for at_s in range(0, int(seconds) + 1, 2):
        snapshot = replace(world.snapshot(), now_s=world.now_s + at_s)
        reading = EngineReading(10, 0, 0.05, 0, 0, 0, counters(1000.0 + at_s) if shows_counters else None)
        engines = {p.address: Sample(reading, snapshot.now_s) for p in snapshot.engine_pods}
        snapshot = replace(snapshot, telemetry=TelemetryReading(engines=engines))
        lesson = learn(memory, snapshot, subjects or subjects_of(world.snapshot()))
        memory, skips = lesson.memory, [*skips, *lesson.skips]
        num_windows += len(lesson.reports)
    assert pickle.loads(pickle.dumps(memory)) == memory
    return num_windows, skips


def test_every_replica_gives_a_window_in_fifteen_seconds() -> None:
    assert watch(a_world(3)) == (3, [])


def test_an_engine_without_the_metrics_says_so_once_and_teaches_nothing() -> None:
    assert watch(a_world(1), shows_counters=False) == (0, [SkipReason.MISSING])


def test_of_two_models_with_unlike_profiles_under_one_key_the_first_teaches() -> None:
    world = a_world(2)
    world.apply(a_model("other", model_id=LLAMA), a_class("other", 3.5, models=[{"name": "other"}]))
    world.settle()
    subjects = subjects_of(world.snapshot())
    assert len({each.key for each in subjects.values()}) == 1
    assert watch(world, subjects=subjects) == (3, [])
    for (model, name), each in list(subjects.items()):
        if model == "default/other":
            subjects[model, name] = replace(each, prior=replace(each.prior, digest="measured by somebody"))
    assert watch(world, subjects=subjects) == (2, [])


def change_pod(world: World, **changes: Any) -> None:
    key = min(world.pods)
    world.pods[key] = replace(world.pods[key], **changes)


def scale(world: World) -> None:
    """The plan has changed, and the Deployment has not followed yet."""
    ((key, state),) = world.deployments.items()
    world.deployments[key] = replace(state, replicas=state.replicas + 1)


@pytest.mark.parametrize(
    ("happens", "num_windows"),
    [
        pytest.param(lambda w: change_pod(w, ready=False), 1, id="one is not ready: the other teaches"),
        pytest.param(lambda w: change_pod(w, deleting=True), 0, id="one goes: its load moves to the other"),
        pytest.param(scale, 0, id="a step is pending"),
    ],
)
def test_a_rollout_teaches_nothing(happens: Any, num_windows: int) -> None:
    world = a_world(2)
    happens(world)
    windows, skips = watch(world)
    assert (windows, set(skips)) == (num_windows, {SkipReason.ROLLOUT})


def test_where_nothing_is_acted_on_no_step_is_pending() -> None:
    world = a_world(2)
    scale(world)
    world.apply(a_fleet("Recommend"))
    assert watch(world) == (2, [])


@pytest.mark.parametrize("ended", [0, 1], ids=["the first pod", "the last pod"])
def test_a_pod_that_has_ended_teaches_nothing_though_its_address_lives_on(ended: int) -> None:
    world = a_world(2)
    names = sorted(world.pods)
    gone, alive = world.pods[names[ended]], world.pods[names[1 - ended]]
    labels = {**gone.labels, LABEL_VARIANT: "another"}
    world.pods[gone.key] = replace(gone, ip=alive.ip, phase="Failed", ready=False, labels=labels)
    variant = alive.labels[LABEL_VARIANT]
    assert running_variants(world.snapshot()) == {alive.address: ("default/llama", variant)}
    assert watch(world) == (1, [])


def test_an_engine_of_settings_that_are_not_wanted_any_more_teaches_nothing() -> None:
    world = a_world(1)
    world.apply(a_model(model_id=LLAMA, engine={"maxNumSeqs": 100}))
    assert watch(world) == (0, [])


# --- what plans use -----------------------------------------------------------------------------


def capacity(world: World) -> float:
    """Requests/s of one replica, in the next decision."""
    (value,) = world.decide().memory.capacity_per_s.values()
    return value


def knowing(world: World, **changes: Any) -> World:
    """The world after its engines were seen to take 1.3 times as long."""
    ((_, each),) = subjects_of(world.snapshot()).items()
    memory = a_memory(replace(each, **changes))
    world.memory = remembering(world.memory, memory)
    return world


@pytest.mark.parametrize(
    ("recalibration", "is_used"),
    [
        ({"recalibration": "Apply"}, True),
        ({"recalibration": "Observe"}, False),
        ({}, False),
        ({"recalibration": "Disabled"}, False),
    ],
)
def test_only_apply_changes_what_a_replica_carries(recalibration: dict[str, str], is_used: bool) -> None:
    before = capacity(a_world(1))
    after = capacity(knowing(a_world(1, **recalibration)))
    assert after == pytest.approx(before / (0.98 * 1.3) if is_used else before)


def test_a_calibration_of_another_engine_version_is_not_used() -> None:
    world = a_world(1, recalibration="Apply")
    ((_, each),) = subjects_of(world.snapshot()).items()
    other = knowing(a_world(1, recalibration="Apply"), key=replace(each.key, engine_version="v0.23.0"))
    assert capacity(other) == capacity(a_world(1))


def test_a_calibration_of_a_profile_that_has_changed_is_not_used() -> None:
    world = a_world(1, recalibration="Apply")
    ((_, each),) = subjects_of(world.snapshot()).items()
    other = knowing(world, prior=replace(each.prior, digest="the table before the upgrade"))
    assert capacity(other) == capacity(a_world(1))


def test_what_is_not_published_yet_is_not_used() -> None:
    variant = the_variant()
    memory = a_memory(the_subject(variant))
    states = {key: replace(state, published=None) for key, state in memory.states.items()}
    model = FakePerf()
    assert corrected(model, [variant], replace(memory, states=states)) is model
    assert corrected(model, [variant], memory) is not model


def test_the_real_model_answers_with_the_published_calibration() -> None:
    variant = the_variant()
    memory = a_memory(the_subject(variant), factor=2.0)
    source = corrected(PERF, [variant], memory).step_times(variant)
    assert not isinstance(source, OutOfRange)
    times, usual = source.step_times(1, 1), OVERLAPPED.exposed
    assert (times.s, times.c0) == pytest.approx((usual.s * 2, usual.c0 * 2))
    # The host's work beside the GPU is not what a slower iteration showed.
    assert times.host_ms == OVERLAPPED.beside_ms


# --- what users read ----------------------------------------------------------------------------


def shown(world: World) -> list[dict[str, Any] | None]:
    rows = body_of(world.decide(), "default/llama", "servedmodels")["variants"]
    return [row.get("calibration") for row in rows]


def test_the_status_shows_what_was_learnt_in_round_figures() -> None:
    expected = {"stepTimeFactor": 1.3, "uncertainty": 0.03, "windows": 10, "drifted": False}
    assert shown(knowing(a_world(1))) == [expected]


def test_the_status_shows_prefill_where_the_load_told_it_from_decoding() -> None:
    world = a_world(1)
    (each,) = subjects_of(world.snapshot()).values()
    assert shown(knowing(world))[0] is not None
    memory = a_memory(each, factor=1.0)
    (state,) = memory.states.values()
    truth = replace(each.prior.host, prefill_ms_per_token=1.2 * state.start.prefill_spread)
    evidence = state.evidence
    for place in range(60):
        row = Row(20.0 + place % 7, 20.0 + place % 3, 100.0 * (place % 5))
        evidence = learnt(evidence, state.start, Observation(row, row.step_ms(truth)))
    world.memory = remembering(world.memory, CalibrationMemory({each.key: replace(state, evidence=evidence)}))
    (found,) = shown(world)
    assert found is not None
    assert found["prefillFactor"] == pytest.approx(1.3, abs=0.11)


def test_where_nothing_is_known_the_status_says_nothing() -> None:
    assert shown(a_world(1)) == [None]
    world = knowing(a_world(1))
    world.memory = remembering(world.memory, with_health(world.memory.traffic.calibration, num_windows=0))
    assert shown(world) == [None]


def test_what_is_switched_off_is_not_shown() -> None:
    assert shown(knowing(a_world(1, recalibration="Disabled"))) == [None]


@pytest.mark.parametrize(("ago_s", "drifted"), [(0.0, True), (3599.0, True), (3600.0, False)])
def test_a_drift_is_shown_for_an_hour(ago_s: float, drifted: bool) -> None:
    world = knowing(a_world(1))
    at_s = world.now_s - ago_s
    world.memory = remembering(world.memory, with_health(world.memory.traffic.calibration, drifted_at_s=at_s))
    (found,) = shown(world)
    assert found is not None
    assert found["drifted"] is drifted


def test_a_model_of_no_catalogue_is_served_without_a_calibration() -> None:
    world = knowing(a_world(1))
    world.apply(a_model("other", model_id="small"), a_class("other", models=[{"name": "other"}]))
    world.settle()
    rows = body_of(world.decide(), "default/other", "servedmodels")["variants"]
    assert [row.get("calibration") for row in rows] == [None]
