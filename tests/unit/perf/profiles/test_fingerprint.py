"""Dimensions decide which table answers, whatever a model is called."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.engine.step_times import StepTable, step_ms
from argosy.perf import shipped_library
from argosy.perf.catalogue import Model, find_gpu, find_model, models
from argosy.perf.host import HostBeside
from argosy.perf.library import WantedProfile
from argosy.perf.profile import Origin, Profile, Shape
from argosy.perf.profiles.fingerprint import Fingerprint
from argosy.perf.profiles.reshape import SIMILAR_SIZE, are_similar
from argosy.perf.protocol import OutOfRange
from argosy.snapshot.architecture import Architecture, Dtype, Family

LIBRARY = shipped_library()
DIMENSIONS = [field.name for field in fields(Fingerprint)]


def model(name: str) -> Model:
    found = find_model(name)
    assert isinstance(found, Model), found
    return found


def ask(name: str, architecture: Architecture, gpu: str = "H100", tp: int = 4) -> Profile:
    found_gpu = find_gpu(gpu)
    assert not isinstance(found_gpu, OutOfRange)
    wanted = WantedProfile(found_gpu, name, architecture, Dtype.BF16, Dtype.BF16, Shape(tp))
    found = LIBRARY.find(wanted)
    assert isinstance(found, Profile), found
    assert found.key == wanted.key
    return found


@given(st.sampled_from(models()), st.sampled_from(DIMENSIONS))
def test_one_more_of_any_dimension_is_another_model(known: Model, name: str) -> None:
    a = known.architecture
    if name == "head_dim" and a.mla_kv_dim:
        return
    if name == "full_head_dim" and a.mla_kv_dim:
        return
    if name == "sliding_window" and not a.sliding_layers:
        return
    own = replace(a, full_kv_heads=a.full_layer_kv_heads, full_head_dim=a.full_layer_head_dim)
    valid = {"experts_per_token": max(1, own.experts_per_token)} if name == "experts" else {}
    valid |= {"expert_intermediate_size": max(1, own.expert_intermediate_size)} if name == "experts" else {}
    changed = replace(own, layout=None, **{**valid, name: getattr(own, name) + 1})
    assert Fingerprint.of(changed) != Fingerprint.of(a)


@given(
    st.sampled_from(models()),
    st.sampled_from(Family),
    st.booleans(),
    st.integers(1, 10**6),
    st.sampled_from(Dtype),
)
def test_what_is_no_dimension_changes_nothing(
    known: Model, family: Family, tied: bool, number: int, dtype: Dtype
) -> None:
    changed = replace(
        known.architecture, family=family, tied_embeddings=tied, max_context=number, vocabulary=number,
        dtype=dtype, kv_dtype=dtype, layout=None,
    )  # fmt: skip
    assert Fingerprint.of(changed) == Fingerprint.of(known.architecture)


@pytest.mark.parametrize("known", models(), ids=lambda known: known.key)
def test_every_checkpoint_of_a_model_has_its_fingerprint(known: Model) -> None:
    of = {Fingerprint.of(checkpoint.architecture) for checkpoint in known.checkpoints}
    assert len(of) == 1


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("meta-llama/Llama-2-70b-hf", "llama-3.1-70b"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "llama-3.1-8b"),
        ("Qwen/Qwen3-VL-8B-Instruct", "qwen3-8b"),
    ],
)
def test_a_model_finds_the_table_of_its_dimensions_and_its_source_names_it(name: str, table: str) -> None:
    known, other = model(name), model(table)
    found = ask(known.key, known.architecture)
    assert found.origin is Origin.TABLE
    assert f"table of {table}, whose dimensions are the same" in found.source
    beside = ask(other.key, other.architecture)
    fewer = known.architecture.vocabulary < other.architecture.vocabulary
    here, there = step_ms(found.step_times, 32, 32 * 1024), step_ms(beside.step_times, 32, 32 * 1024)
    assert here < there if fewer else here == pytest.approx(there, rel=0.05)


def test_a_declared_model_finds_its_table_and_one_dimension_off_does_not() -> None:
    own = replace(model("llama-3.1-70b").architecture, layout=None, family=None)
    table = ask("llama-3.1-70b", own)
    same = ask("mine/tuned", own)
    assert same.origin is Origin.TABLE
    assert np.array_equal(matrix(same), matrix(table))
    near = ask("mine/tuned", replace(own, intermediate_size=own.intermediate_size + 256))
    assert near.origin is Origin.ROOFLINE
    assert near.uncertainty > same.uncertainty


def test_a_catalogue_name_with_other_dimensions_does_not_get_the_names_table() -> None:
    own = replace(model("llama-3.1-8b").architecture, layers=30, layout=None)
    found = ask("llama-3.1-8b", own, tp=1)
    assert found.origin is Origin.ROOFLINE
    assert matrix(found)[0] < matrix(ask("llama-3.1-8b", model("llama-3.1-8b").architecture, tp=1))[0]


def matrix(profile: Profile) -> np.ndarray:
    times = profile.step_times
    table = times.exposed if isinstance(times, HostBeside) else times
    assert isinstance(table, StepTable)
    return table.matrix_ms


@given(st.integers(1, 2_000_000))
def test_any_vocabulary_leaves_steps_positive_and_rising_with_it(vocabulary: int) -> None:
    own = replace(model("llama-3.1-8b").architecture, layout=None, tied_embeddings=True)
    fewer, more = (
        matrix(ask("mine", replace(own, vocabulary=number), tp=1))
        for number in (vocabulary, vocabulary + 1000)
    )
    assert fewer.min() > 0
    assert np.all(np.diff(fewer) >= 0)
    assert np.all(fewer <= more)


def test_a_similar_dense_model_answers_where_no_table_has_the_dimensions() -> None:
    own = replace(model("llama-3.1-8b").architecture, layers=28, layout=None)
    found = ask("mine", own, tp=1)
    assert "times the ratio of both models' rooflines" in found.source
    assert np.all(np.diff(matrix(found)) >= 0)


def test_models_are_similar_within_a_factor_and_only_if_dense() -> None:
    small, large = model("llama-3.2-3b").architecture, model("llama-3.1-8b").architecture
    moe = model("mixtral-8x7b").architecture
    assert are_similar(small, large)
    assert are_similar(large, small)
    assert not are_similar(large, moe)
    assert not are_similar(large, model("gemma-3-12b").architecture)
    far = replace(large, parameters=10**13, active_parameters=int(large.active_parameters * SIMILAR_SIZE) + 9)
    assert not are_similar(large, far)
