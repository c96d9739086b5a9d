"""What users measured of their models: which files count, for whom, and what is said of the others."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from profile_files import a_profile_file, changed
from small_fleet import World, a_class, a_fleet, a_model, a_pool, condition, some_nodes, verdict

from argosy.api import GPUPool, ServedModel
from argosy.api.conditions import Reason
from argosy.control.candidates.profiles import ModelProfiles, files_named, model_profiles
from argosy.control.candidates.resolve import perf_refusal
from argosy.control.decision import Decision
from argosy.keys import ModelKey
from argosy.perf.profile import ProfileKey, Shape
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.architecture import Dtype
from argosy.snapshot.fleet import ProfileFileKey

MEASURED = ProfileFileKey("default", "measured", "profile.json")
OTHER = ProfileFileKey("default", "measured", "other.json")
BOTH = [{"configMap": "measured"}, {"configMap": "measured", "key": "other.json"}]
GOOD = a_profile_file()


def read(model: ServedModel, **files: bytes) -> ModelProfiles:
    """What comes of the files `measured` (profile.json) and `other` (other.json)."""
    world = World([], model)
    world.profile_files = {{"measured": MEASURED, "other": OTHER}[name]: c for name, c in files.items()}
    return model_profiles(world.snapshot(), model)


def naming(*profiles: dict[str, str], model_id: str = "small") -> ServedModel:
    return a_model(model_id=model_id, profiles=list(profiles or [{"configMap": "measured"}]))


def test_files_are_named_in_the_models_namespace_and_in_order() -> None:
    assert files_named(naming(*BOTH)) == (MEASURED, OTHER)
    assert files_named(a_model()) == ()


def test_a_file_gives_the_profile_that_it_holds() -> None:
    found = read(naming(), measured=GOOD)
    assert [p.key for p in found.profiles] == [ProfileKey("L40S", "small", Dtype.BF16, Shape(1))]
    assert found.refusals == ()


@pytest.mark.parametrize("model_id", ["meta-llama/Llama-3.1-8B-Instruct", "META-LLAMA/llama-3.1-8b"])
def test_a_checkpoint_of_the_catalogue_takes_the_profile_of_its_architecture(model_id: str) -> None:
    found = read(naming(model_id=model_id), measured=a_profile_file(model="llama-3.1-8b"))
    assert (len(found.profiles), found.refusals) == (1, ())


UNUSABLE = [
    pytest.param(b'{"kind": "ArgosyProfile", ', "broken JSON", id="cut off on its way"),
    pytest.param(b"\xff\xfe\x00", "broken JSON", id="bytes of something else"),
    pytest.param(b"", "broken JSON", id="an empty file"),
    pytest.param(b'{"mean_ttft_ms": 31}', "no profile", id="the report instead of the profile"),
    pytest.param(
        changed(GOOD, lambda d: d["step_table"].update(s=0.1)),
        "the checksum differs",
        id="made faster by hand",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["step_table"].update(s=-1), seal=True),
        "not a profile",
        id="a negative time",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["step_table"].update(matrix_ms=[20.0, float("nan")]), seal=True),
        "not a profile",
        id="a time that is no number",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["step_table"].update(c0=10**400), seal=True),
        "not a profile",
        id="a time beyond all numbers",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["key"].update(tensor_parallel=float("inf")), seal=True),
        "not a profile",
        id="infinitely many GPUs",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["step_table"].update(c0=-1e3), seal=True),
        "would take -980 ms",
        id="an iteration that ends before it begins",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["step_table"].update(s=1e308), seal=True),
        "would take inf ms",
        id="an iteration that never ends",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["valid"].update(max_batch=0), seal=True),
        "must be at least 1 each",
        id="a profile that answers for nothing",
    ),
    pytest.param(
        changed(GOOD, lambda d: d["valid"].update(max_batch="many"), seal=True),
        "not a profile: ValidationError 1 validation error for ValidRange max_batch",
        id="a word for a number, told in several lines",
    ),
    pytest.param(
        changed(GOOD, lambda d: d.update(version=2), seal=True),
        "version 2 of the format",
        id="a later format",
    ),
    pytest.param(
        a_profile_file(model="llama-3.1-70b"),
        "it is a profile of llama-3.1-70b, and spec.modelId is small",
        id="another model's",
    ),
]


@pytest.mark.parametrize(("content", "said"), UNUSABLE)
def test_a_file_that_is_no_profile_of_the_model_is_refused_with_its_field(content: bytes, said: str) -> None:
    found = read(naming(*BOTH), measured=GOOD, other=content)
    [refusal] = found.refusals
    assert refusal.reason is Reason.PROFILE_UNUSABLE
    assert refusal.message.startswith("spec.profiles[1]: ")
    assert refusal.message.startswith("spec.profiles[1]: ")
    assert said in refusal.message
    assert "\n" not in refusal.message
    assert [p.key.model for p in found.profiles] == ["small"]  # the good one still counts


def test_a_file_that_is_not_there_is_told_with_the_way_to_make_it() -> None:
    [refusal] = read(naming()).refusals
    assert (refusal.reason, refusal.message) == (
        Reason.PROFILE_NOT_FOUND,
        "spec.profiles[0]: there is no key profile.json in a ConfigMap measured of this namespace, so"
        " Argosy's own profiles are used; create it (kubectl create configmap measured"
        " --from-file=profile.json) or correct spec.profiles[0].",
    )


def test_of_two_profiles_about_the_same_thing_the_first_counts() -> None:
    found = read(naming(*BOTH), measured=GOOD, other=a_profile_file(slowness=2.0))
    assert [p.step_times.step_times(1, 1).s for p in found.profiles] == [1.0]
    [refusal] = found.refusals
    assert "small bf16 on L40S TP1, as spec.profiles[0] is already" in refusal.message


def test_profiles_of_several_shapes_stand_side_by_side() -> None:
    found = read(naming(*BOTH), measured=GOOD, other=a_profile_file(tp=2))
    assert [str(p.key.shape) for p in found.profiles] == ["TP1", "TP2"]
    assert found.refusals == ()


def test_a_file_that_stays_as_it_is_is_not_read_again() -> None:
    [first] = read(naming(), measured=GOOD).profiles
    [again] = read(naming(), measured=bytes(bytearray(GOOD))).profiles
    assert again is first


# What comes of it in a decision: 8 requests/s, 4 on each L40S as shipped.


def a_world(model: ServedModel) -> World:
    return World(some_nodes("l40s", 4), a_fleet(), a_pool(), model, a_class())


@pytest.mark.parametrize(("slowness", "replicas"), [(1.0, 2), (2.0, 4), (0.5, 1)])
def test_what_a_user_measured_decides_how_many_replicas_there_are(slowness: float, replicas: int) -> None:
    world = a_world(naming())
    world.profile_files[MEASURED] = a_profile_file(slowness=slowness)
    decision = world.act()
    assert world.replicas() == {"l40s/chat": replicas}
    assert verdict(decision, "default/llama", "servedmodels", "ResolvedRefs") == ("True", "ResolvedRefs")


def test_a_profile_counts_for_the_model_that_names_it_alone() -> None:
    world = a_world(naming())
    world.apply(a_model("twin"), a_class("batch", models=[{"name": "twin"}]))
    world.profile_files[MEASURED] = a_profile_file(slowness=2.0)
    world.act()
    assert world.replicas() == {"l40s/batch": 2, "l40s/chat": 4}


def test_a_profile_of_another_gpu_or_shape_changes_nothing() -> None:
    world = a_world(naming(*BOTH))
    world.profile_files = {
        MEASURED: a_profile_file(gpu="H100", slowness=2.0),
        OTHER: a_profile_file(tp=2, slowness=2.0),
    }
    world.act()
    assert world.replicas() == {"l40s/chat": 2}


def test_a_file_that_changes_makes_a_new_plan() -> None:
    world = a_world(naming())
    world.profile_files[MEASURED] = a_profile_file()
    world.settle()
    world.profile_files[MEASURED] = a_profile_file(slowness=2.0)
    assert world.decide().new_plan is not None
    world.settle()
    assert world.replicas() == {"l40s/chat": 4}


TROUBLES = [
    pytest.param({}, {}, ("False", "ProfileNotFound"), "spec.profiles[0]: there is no", id="missing"),
    pytest.param({MEASURED: b"{"}, {}, ("False", "ProfileUnusable"), "broken JSON", id="broken"),
    pytest.param(
        {MEASURED: a_profile_file("llama-3.1-8b", slowness=9.0)},
        {},
        ("False", "ProfileUnusable"),
        "a profile of llama-3.1-8b",
        id="another model's",
    ),
    pytest.param(
        {}, {MEASURED: "403 forbidden"}, ("Unknown", "ProfileUnread"), "(403 forbidden)", id="not seen yet"
    ),
]


@pytest.mark.parametrize(("files", "unread", "said", "words"), TROUBLES)
def test_a_profile_that_cannot_be_used_is_reported_and_stops_no_decision(
    files: dict[ProfileFileKey, bytes], unread: dict[ProfileFileKey, str], said: tuple[str, str], words: str
) -> None:
    world = a_world(naming())
    world.profile_files, world.unread_profiles = files, unread
    world.settle()
    decision = world.decide()
    assert verdict(decision, "default/llama", "servedmodels", "ResolvedRefs") == said
    assert words in condition(decision, "default/llama", "servedmodels", "ResolvedRefs")["message"]
    assert world.replicas() == {"l40s/chat": 2}
    for kind, key in (("servedmodels", "default/llama"), ("workloadclasses", "default/chat")):
        assert verdict(decision, key, kind) == ("True", "Ready")


def test_each_profile_that_is_not_used_is_told_and_what_is_wrong_counts_before_what_is_unseen() -> None:
    world = a_world(naming(*BOTH))
    world.unread_profiles = {MEASURED: "no answer"}
    decision = world.decide()
    assert verdict(decision, "default/llama", "servedmodels", "ResolvedRefs") == ("False", "ProfileNotFound")
    message = condition(decision, "default/llama", "servedmodels", "ResolvedRefs")["message"]
    assert [message.count(f"spec.profiles[{i}]: ") for i in (0, 1)] == [1, 1]


def test_a_model_that_names_no_profile_has_its_references_resolved() -> None:
    decision = a_world(a_model()).decide()
    assert verdict(decision, "default/llama", "servedmodels", "ResolvedRefs") == ("True", "ResolvedRefs")


def test_a_snapshot_with_files_travels_to_the_worker_and_back() -> None:
    world = a_world(naming())
    world.profile_files[MEASURED] = GOOD
    assert pickle.loads(pickle.dumps(world.snapshot())).profile_files == {MEASURED: GOOD}


@pytest.mark.parametrize("reason", OutOfRangeReason)
def test_every_way_to_be_out_of_range_has_a_sentence_that_names_a_field(reason: OutOfRangeReason) -> None:
    variant = Variant(ModelKey("default/llama"), "small", (), "l40s", "L40S", 1, EngineSettings())
    refusal = perf_refusal(variant, OutOfRange(reason, "it is not covered."))
    assert "spec." in refusal.message
    assert "it is not covered" in refusal.message


# What is odd about a profile that can be used: it counts, and is told.

LLAMA = "llama-3.1-8b"


def a_catalogued_world(content: bytes, **spec: Any) -> World:
    """A model that Argosy has figures of, on a pool of L40S, with one file of its own."""
    model = a_model(model_id=LLAMA, profiles=[{"configMap": "measured"}], **spec)
    world = a_world(model)
    world.profile_files[MEASURED] = content
    return world


def references(decision: Decision) -> tuple[str, str, str]:
    found = condition(decision, "default/llama", "servedmodels", "ResolvedRefs")
    return found["status"], found["reason"], found["message"]


FAR = [
    pytest.param(
        100.0, "decode iterations take 77 times and prefill iterations take 150 times", id="s as ms"
    ),
    pytest.param(0.001, "decode iterations take 0.00077 times and prefill", id="ms as s"),
    pytest.param(3.0, "decode iterations take 2.3 times and prefill iterations take 4.5", id="one of both"),
]


@pytest.mark.parametrize(("slowness", "said"), FAR)
def test_a_profile_far_from_what_is_known_counts_and_is_told(slowness: float, said: str) -> None:
    status, reason, message = references(
        a_catalogued_world(a_profile_file(LLAMA, slowness=slowness)).decide()
    )
    assert (status, reason) == ("True", "ProfileImplausible")
    assert message.startswith(f"spec.profiles[0]: by this profile of llama-3.1-8b bf16 on L40S TP1, {said}")
    assert "as long as Argosy's own figures say (MeasuredTable). Plans use it as it is" in message


def test_a_profile_far_from_what_is_known_decides_all_the_same() -> None:
    world = a_catalogued_world(a_profile_file(LLAMA, slowness=8.0))
    world.nodes = {n.name: n for n in some_nodes("l40s", 8)}
    assert references(world.act())[1] == "ProfileImplausible"
    assert world.replicas() == {"l40s/chat": 16}


@pytest.mark.parametrize("slowness", [0.5, 1.0, 2.0])
def test_a_profile_near_what_is_known_is_not_remarked_upon(slowness: float) -> None:
    decision = a_catalogued_world(a_profile_file(LLAMA, slowness=slowness)).decide()
    assert references(decision)[:2] == ("True", "ResolvedRefs")


def test_a_profile_without_any_figures_to_compare_cannot_be_far_from_them() -> None:
    world = a_world(naming())
    world.profile_files[MEASURED] = a_profile_file(slowness=100.0)
    assert references(world.decide())[:2] == ("True", "ResolvedRefs")


UNUSED = [
    pytest.param({"gpu": "H100"}, {}, "bf16 on H100 TP1", "bf16 on L40S TP1", id="a GPU of no pool"),
    pytest.param(
        {"gpu": "NVIDIA-L40S"},
        {},
        "bf16 on NVIDIA-L40S TP1",
        "bf16 on L40S TP1",
        id="a label for a GPU's name",
    ),
    pytest.param({"tp": 2}, {}, "bf16 on L40S TP2", "bf16 on L40S TP1", id="a shape that is not allowed"),
    pytest.param(
        {},
        {"parallelShapes": [{"tensorParallel": 2}, {"tensorParallel": 4}]},
        "bf16 on L40S TP1",
        "bf16 on L40S TP2, bf16 on L40S TP4",
        id="none of several shapes",
    ),
    pytest.param(
        {}, {"engine": {"quantization": "fp8"}}, "bf16 on L40S TP1", "fp8 on L40S TP1", id="a number type"
    ),
]


@pytest.mark.parametrize(("measured", "spec", "it_is_of", "variants"), UNUSED)
def test_a_profile_of_no_variant_is_told_with_the_variants_that_there_are(
    measured: dict[str, Any], spec: dict[str, Any], it_is_of: str, variants: str
) -> None:
    world = a_catalogued_world(a_profile_file(LLAMA, slowness=9.0, **measured), **spec)
    status, reason, message = references(world.decide())
    assert (status, reason) == ("True", "ProfileUnused")
    assert message.startswith(
        f"spec.profiles[0]: the profile is of llama-3.1-8b {it_is_of} and has no effect: the model's variants"
        f" are {variants}. Add a variant that it fits"
    )


def test_without_a_pool_a_profile_is_of_no_variant() -> None:
    world = a_catalogued_world(a_profile_file(LLAMA))
    world.delete(GPUPool, "l40s")
    assert "the model's variants are none, as there is no GPUPool." in references(world.decide())[2]


def test_a_profile_of_a_stage_answers_for_the_pipeline_and_is_compared_as_a_stage() -> None:
    shapes = [{"tensorParallel": 1, "pipelineParallel": 2}]
    near = a_catalogued_world(a_profile_file(LLAMA), parallelShapes=shapes).decide()
    assert references(near)[:2] == ("True", "ResolvedRefs")
    far = a_catalogued_world(a_profile_file(LLAMA, slowness=100.0), parallelShapes=shapes).decide()
    assert references(far)[1] == "ProfileImplausible"
    assert "decode iterations take 77 times" in references(far)[2]


def test_what_is_wrong_and_what_is_odd_are_told_together_and_what_is_wrong_decides() -> None:
    files = [*BOTH, {"configMap": "measured", "key": "third.json"}]
    world = a_world(a_model(model_id=LLAMA, profiles=files))
    world.profile_files = {
        MEASURED: a_profile_file(LLAMA, gpu="H100"),
        OTHER: a_profile_file(LLAMA, slowness=100.0),
    }
    status, reason, message = references(world.decide())
    assert (status, reason) == ("False", "ProfileNotFound")
    told = [message.index(f"spec.profiles[{i}]: ") for i in (2, 1, 0)]
    assert told == sorted(told)  # refused, far off, unused
