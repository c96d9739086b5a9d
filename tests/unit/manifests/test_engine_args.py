"""A field of an engine, from a ServedModel through the settings to vLLM's command line and back.

A new field is one edit in `api.servedmodel.Engine`, one in `snapshot.EngineSettings` and one in
`api.engine_flags.ENGINE_FLAGS`; these tests name the one that is missing.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from builders import a_model, a_pool
from small_fleet import World

from argosy.api.engine.pod import EnginePod
from argosy.api.engine.reserved import OF_FIELDS
from argosy.api.engine_flags import ENGINE_FLAGS, FlagValue
from argosy.api.servedmodel import Engine
from argosy.control.candidates.variants import variants_of
from argosy.manifests.engine_args import engine_args
from argosy.snapshot import Dtype, EngineSettings, Variant
from argosy_sim.livefleet.vllm.args import VllmArgs, parse_args

NO_FLAG = {
    "image": "the container's image",
    "version": "of vLLM in the image: what is expected of an engine, not how it is started",
    "env": "the container's environment",
    "args": "words that follow the flags",
    "drain_seconds": "the pod's grace period",
    "pod": "the pod's labels, volumes, resources and security",
    "block_size": "vLLM's default: no ServedModel sets it",
}
OTHERS: dict[str, Any] = {
    "model_id": "another/model",
    "served_names": ("one", "two"),
    "port": 9000,
    "tensor_parallel": 4,
    "pipeline_parallel": 2,
    "max_num_seqs": 100,
    "max_num_batched_tokens": 4096,
    "max_model_len": 5000,
    "gpu_memory_utilization": 0.55,
    "quantization": Dtype.FP8,
    "kv_cache_dtype": Dtype.FP8,
    "max_loras": 3,
    "max_lora_rank": 64,
}
"""For each field with a flag a value that is not the default."""
VARIANT = Variant(
    model_key="default/llama",
    model_id="meta/llama",
    served_names=("llama",),
    pool="l40s",
    gpu="L40S",
    tensor_parallel=1,
    engine=EngineSettings(max_loras=1),
)
POD: dict[str, Any] = {
    "annotations": {"a": "b"},
    "envFrom": [{"secretRef": {"name": "s"}}],
    "imagePullSecrets": [{"name": "s"}],
    "imagePullPolicy": "Always",
    "serviceAccountName": "engines",
    "volumes": [{"name": "m", "emptyDir": {}}],
    "volumeMounts": [{"name": "m", "mountPath": "/m"}],
    "resources": {"limits": {"cpu": "4"}},
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
    "securityContext": {"runAsUser": 5},
    "podSecurityContext": {"fsGroup": 5},
    "podTemplatePatch": {"spec": {"hostname": "a"}},
}
"""That each of them changes the pod is shown in test_engine_pod.py."""
OWN_ENGINE: dict[str, Any] = {
    "image": "i:2",
    "version": "0.15.1",
    "port": 9000,
    "maxNumSeqs": 100,
    "maxNumBatchedTokens": 4096,
    "maxModelLen": 5000,
    "gpuMemoryUtilization": 0.55,
    "quantization": "fp8",
    "kvCacheDtype": "fp8",
    "maxLoras": 3,
    "maxLoraRank": 64,
    "drainSeconds": 900,
    "podLabels": {"team": "search"},
    **POD,
    "args": ["--x"],
    "env": [{"name": "A", "value": "1"}],
}
"""A `spec.engine` that sets every field to another value than its default."""
FIELDS = list(dict.fromkeys(flag.field for flag in ENGINE_FLAGS))


def variant_with(field: str, value: Any) -> Variant:
    if field in {f.name for f in fields(Variant)}:
        return replace(VARIANT, **{field: value})
    return replace(VARIANT, engine=replace(VARIANT.engine, **{field: value}))


def parsed(variant: Variant) -> VllmArgs:
    answer = parse_args(engine_args(variant))
    assert isinstance(answer, VllmArgs)
    return answer


def test_every_field_of_a_served_models_engine_is_a_setting() -> None:
    of_the_pod = set(EnginePod.model_fields)
    assert set(Engine.model_fields) - {f.name for f in fields(EngineSettings)} - of_the_pod == set()


def test_every_setting_has_a_flag_or_a_reason_to_have_none() -> None:
    settings = {f.name for f in fields(EngineSettings)}
    assert settings - set(FIELDS) - set(NO_FLAG) == set()
    assert set(NO_FLAG) - settings == set()


def test_every_flag_belongs_to_a_field() -> None:
    known = {f.name for kind in (Variant, EngineSettings) for f in fields(kind)}
    assert [flag.flag for flag in ENGINE_FLAGS if flag.field not in known] == []


def test_the_defaults_of_settings_are_those_of_a_served_models_engine() -> None:
    assert EngineSettings.of(Engine()) == EngineSettings()


def test_every_field_of_a_served_models_engine_reaches_its_variants() -> None:
    model = a_model(engine=OWN_ENGINE)
    assert model.spec.engine.model_fields_set == set(Engine.model_fields)
    [variant] = variants_of(World([], a_pool(), model).snapshot(), model)
    assert variant.engine == EngineSettings(
        image="i:2",
        version="0.15.1",
        port=9000,
        max_num_seqs=100,
        max_num_batched_tokens=4096,
        max_model_len=5000,
        gpu_memory_utilization=0.55,
        quantization=Dtype.FP8,
        kv_cache_dtype=Dtype.FP8,
        max_loras=3,
        max_lora_rank=64,
        args=("--x",),
        env=(("A", "1"),),
    )
    assert variant.engine.pod == model.spec.engine
    assert variant.engine.drain_seconds == 900
    assert variant.engine.pod.pod_labels == {"team": "search"}


SIMULATED = {f.name for f in fields(VllmArgs)} | {"model_id"}


@pytest.mark.parametrize("field", [field for field in FIELDS if field in SIMULATED])
def test_the_simulated_engine_reads_back_what_the_manifest_sets(field: str) -> None:
    found = parsed(variant_with(field, OTHERS[field]))
    read = "model" if field == "model_id" else field
    assert getattr(found, read) == OTHERS[field]
    assert getattr(parsed(VARIANT), read) != OTHERS[field]


def test_the_simulated_engine_ignores_only_flags_that_change_nothing_in_it() -> None:
    engine = replace(
        EngineSettings(), **{f: v for f, v in OTHERS.items() if f in NO_FLAG or hasattr(EngineSettings(), f)}
    )
    ignored = {words.split()[0] for words in parsed(replace(VARIANT, engine=engine)).ignored}
    assert ignored <= {flag.flag for flag in ENGINE_FLAGS if flag.field not in SIMULATED}


def test_lora_flags_are_left_out_while_lora_is_off() -> None:
    words = engine_args(replace(VARIANT, engine=EngineSettings(max_loras=0, max_lora_rank=64)))
    assert [word for word in words if "lora" in word] == []


def test_every_flag_and_short_form_is_reserved_once() -> None:
    assert {flag.flag for flag in ENGINE_FLAGS} <= set(OF_FIELDS)
    assert {"-tp", "-pp", "-q"} <= set(OF_FIELDS)


def test_a_users_own_arguments_come_last_and_untouched() -> None:
    engine = replace(VARIANT.engine, args=("--max_model_x=1", "-O3"))
    assert engine_args(replace(VARIANT, engine=engine))[-2:] == ["--max_model_x=1", "-O3"]


@pytest.mark.parametrize(
    "flag", [f for f in ENGINE_FLAGS if f.value is FlagValue.NOTHING], ids=lambda f: f.flag
)
def test_a_switch_has_no_value(flag: Any) -> None:
    words = engine_args(VARIANT)
    assert words[words.index(flag.flag) + 1].startswith("--")
