"""The order in which profiles answer, and what is added to a silicon time on the way to an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from packaging.version import Version

from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf import shipped, shipped_library
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.host import OVERLAPPED, host_of_version
from argosy.perf.library import WantedProfile
from argosy.perf.model import wanted_profile
from argosy.perf.profile import HOST_OVERHEAD, Calibration, Origin, Profile, ProfileKey, Shape
from argosy.perf.profiles.kv_dtype import KvTypes, with_kv_dtype
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot import Architecture, Dtype, EngineSettings, Variant

LIBRARY = shipped_library()
DECLARED = Architecture(
    layers=40,
    hidden_size=5120,
    intermediate_size=13824,
    attention_heads=40,
    kv_heads=40,
    head_dim=128,
    vocabulary=32000,
    parameters=13_015_864_320,
    active_parameters=13_015_864_320,
    max_context=4096,
)


def wanted(model: str, gpu: str, tp: int = 1, **changes: object) -> WantedProfile:
    found_gpu, found_model = find_gpu(gpu), find_model(model)
    assert not isinstance(found_gpu, OutOfRange)
    assert not isinstance(found_model, OutOfRange)
    a = found_model.architecture
    asked = WantedProfile(found_gpu, found_model.key, a, a.dtype, a.kv_dtype, Shape(tp))
    return replace(asked, **changes)  # type: ignore[arg-type]


def profile(asked: WantedProfile) -> Profile:
    found = LIBRARY.find(asked)
    assert isinstance(found, Profile), found
    return found


def decode_ms(found: Profile, batch: int = 64, context: int = 1024) -> float:
    return float(step_ms(found.step_times, batch, batch * context))


@pytest.mark.parametrize(
    ("asked", "origin", "says"),
    [
        pytest.param(wanted("llama-3.1-8b", "H100"), Origin.TABLE, "measured by NVIDIA", id="measured"),
        pytest.param(
            wanted("llama-3.1-8b", "L40S", 4), Origin.ROOFLINE, "widened from TP2", id="wider than measured"
        ),
        pytest.param(wanted("llama-3.1-8b", "A100-40GB"), Origin.ROOFLINE, "table of A100", id="a sibling"),
        pytest.param(
            wanted("llama-3.1-8b", "MI300X"), Origin.ROOFLINE, "roofline of MI300X", id="another vendor"
        ),
        pytest.param(wanted("llama-3.1-8b", "L4"), Origin.ROOFLINE, "roofline of L4", id="never measured"),
    ],
)
def test_the_most_trusted_source_answers(asked: WantedProfile, origin: Origin, says: str) -> None:
    found = profile(asked)
    assert (found.origin, found.key) == (origin, asked.key)
    assert says in found.source


def test_a_guess_is_less_certain_than_a_table_and_so_is_what_is_made_of_one() -> None:
    table = profile(wanted("llama-3.1-8b", "L40S", 2))
    widened, roofline = profile(wanted("llama-3.1-8b", "L40S", 4)), profile(wanted("llama-3.1-8b", "L4"))
    assert table.uncertainty < widened.uncertainty < roofline.uncertainty


def test_an_engine_pays_for_its_host_on_top_of_the_silicon() -> None:
    silicon = LIBRARY.measured(wanted("llama-3.1-8b", "H100").key)
    assert isinstance(silicon, Profile)
    asked = wanted("llama-3.1-8b", "H100")
    old = replace(asked, host=host_of_version(Version("0.13.0")))
    host = HOST_OVERHEAD
    before = host.s * decode_ms(silicon) + host.c0 + host.cb * 64
    assert decode_ms(profile(old)) == pytest.approx(before)
    # What waited for the host takes about 4 ms; of that the GPU hides all but what cannot be done beside it.
    beside = host.s * decode_ms(silicon) + OVERLAPPED.exposed.c0
    assert decode_ms(profile(asked)) == pytest.approx(beside)
    assert "host of vLLM 0.13.0, before the GPU" in profile(old).source
    assert "assumed: version not known" in profile(asked).source


def test_a_host_that_takes_longer_than_the_gpu_is_what_an_iteration_takes() -> None:
    asked = wanted("llama-3.1-8b", "B200", 8)
    batch = 256
    host = OVERLAPPED.beside_ms + OVERLAPPED.beside_ms_per_sequence * batch
    found = profile(asked)
    assert step_ms(found.step_times, batch, batch) == pytest.approx(host + OVERLAPPED.exposed.c0)


def test_a_users_profile_wins_and_is_taken_as_it_is() -> None:
    asked = wanted("llama-3.1-8b", "H100")
    slow = LIBRARY.measured(wanted("llama-3.1-8b", "L40S").key)
    assert isinstance(slow, Profile)
    own = replace(slow, key=asked.key, origin=Origin.USER)
    assert LIBRARY.with_users([own]).find(asked) == own
    # Another shape is still the shipped table's.
    assert LIBRARY.with_users([own]).find(wanted("llama-3.1-8b", "H100", 2)) != own


def test_what_engines_were_seen_to_need_replaces_the_usual_overhead() -> None:
    asked = wanted("llama-3.1-8b", "H100")
    seen = LIBRARY.with_calibrations({asked.key: Calibration(1.2, 3.0, 0.1)}).find(asked)
    silicon = LIBRARY.measured(asked.key)
    assert isinstance(seen, Profile)
    assert isinstance(silicon, Profile)
    assert decode_ms(seen) == pytest.approx(1.2 * decode_ms(silicon) + 3.0 + 6.4)


def test_pipeline_stages_keep_a_lone_tokens_latency_and_add_their_transfers() -> None:
    flat, staged = (
        profile(wanted("llama-3.1-8b", "H100")),
        profile(wanted("llama-3.1-8b", "H100", shape=Shape(1, 2))),
    )
    assert staged.key.shape == Shape(1, 2)
    assert decode_ms(flat, 1) < decode_ms(staged, 1) < 1.1 * decode_ms(flat, 1)
    # Two micro-batches in flight: 64 sequences take the time of 32 and a little more.
    assert decode_ms(staged, 64) < decode_ms(flat, 64)


def test_an_fp8_cache_speeds_up_long_contexts_only() -> None:
    asked = wanted("llama-3.1-8b", "H100")
    halved = profile(replace(asked, kv_dtype=Dtype.FP8))
    assert decode_ms(halved, 64, 128) == pytest.approx(decode_ms(profile(asked), 64, 128), rel=0.02)
    assert decode_ms(halved, 64, 8192) < 0.75 * decode_ms(profile(asked), 64, 8192)


def test_a_cache_of_the_measured_type_changes_nothing() -> None:
    found = LIBRARY.measured(wanted("llama-3.1-8b", "H100").key)
    assert isinstance(found, Profile)
    assert with_kv_dtype(found.step_times, "H100", KvTypes(Dtype.FP8, Dtype.FP8)) is found.step_times


def test_a_model_that_only_its_architecture_tells_of_has_the_table_of_its_dimensions_or_a_roofline() -> None:
    asked = replace(wanted("llama-3.1-8b", "H100"), model="mine/13b", architecture=DECLARED)
    found = profile(asked)
    assert (found.origin, found.key.model) == (Origin.TABLE, "mine/13b")
    assert "table of llama-2-13b" in found.source
    wider = profile(replace(asked, architecture=replace(DECLARED, intermediate_size=14080)))
    assert (wider.origin, wider.key.model) == (Origin.ROOFLINE, "mine/13b")
    small, large = decode_ms(profile(wanted("llama-3.1-8b", "H100"))), decode_ms(found)
    assert small < large


def test_a_shape_that_cannot_be_cut_says_so() -> None:
    refused = LIBRARY.find(wanted("llama-3.1-8b", "H100", 3))
    assert isinstance(refused, OutOfRange)
    assert refused.reason is OutOfRangeReason.IMPOSSIBLE_SHAPE
    assert "32 attention heads" in refused.message


def test_every_measured_profile_can_be_asked_of_the_library() -> None:
    keys = list(LIBRARY.keys())
    assert len(keys) == len(set(keys)) >= 86
    times = [decode_ms(found) for key in keys if isinstance(found := LIBRARY.measured(key), Profile)]
    assert len(times) == len(keys)
    assert np.all(np.isfinite(times))
    assert min(times) > 0


def test_an_unknown_profile_names_the_nearest() -> None:
    refused = LIBRARY.measured(ProfileKey("L4", "llama-3.1-8b", Dtype.BF16, Shape()))
    assert isinstance(refused, OutOfRange)
    assert any("llama-3.1-8b" in near for near in refused.nearest)


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    with pytest.raises(SpecError, match=r"measurements\.csv is missing: install Argosy's package again"):
        shipped.shipped_measurements()


@pytest.mark.parametrize(
    ("longest", "changes", "is_plain"),
    [
        pytest.param(4096, {}, True, id="all fits in the window"),
        pytest.param(4097, {}, False, id="a sequence may fill it"),
        pytest.param(4096, {"full_kv_heads": 4}, False, id="other heads where there is no window"),
    ],
)
def test_a_window_that_holds_the_longest_sequence_changes_no_profile(
    longest: int, changes: dict[str, int], is_plain: bool
) -> None:
    known = find_model("llama-3.1-8b")
    assert not isinstance(known, OutOfRange)
    plain = known.architecture
    windowed = replace(plain, sliding_window=4096, sliding_layers=plain.layers, **changes)  # type: ignore[arg-type]

    def found(architecture: Architecture) -> Profile:
        engine = EngineSettings(max_model_len=longest)
        key = ModelKey("default/own")
        own = Variant(key, "acme/own", ("own",), "h100", "H100", 1, engine, architecture=architecture)
        asked = wanted_profile(own)
        assert isinstance(asked, WantedProfile)
        return profile(asked)

    own, usual = found(windowed), found(plain)
    assert usual.origin is Origin.TABLE
    assert (own.source == usual.source) == is_plain
    assert (decode_ms(own) == decode_ms(usual)) == is_plain
