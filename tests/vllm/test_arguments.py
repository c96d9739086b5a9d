"""Every combination of engine fields is accepted by vLLM's own argument parser."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from argosy.keys import ModelKey
from argosy.manifests.engine_args import engine_args
from argosy.snapshot import Dtype, EngineSettings, Variant
from argosy_sim.livefleet.runtime.installation import VllmInstallation

JUDGE = Path(__file__).with_name("parse_arguments.py")
VALUES = {
    "quantization": (None, Dtype.FP8),
    "kv_cache_dtype": (None, Dtype.FP8),
    "max_loras": (0, 1, 8),
    "max_lora_rank": (8, 256),
    "max_num_seqs": (1, 1024),
    "max_num_batched_tokens": (1024, 32768),
    "max_model_len": (1024, 131072),
    "gpu_memory_utilization": (0.1, 0.9, 1.0),
}
SHAPES = ((1, 1), (8, 1), (2, 4))


def judged(vllm: VllmInstallation, lines: list[list[str]]) -> list[str]:
    """What vLLM says against each line, empty where it accepts it."""
    environment = {**os.environ, "VLLM_TARGET_DEVICE": "cpu", "HF_HUB_OFFLINE": "1"}
    answer = subprocess.run(
        [str(vllm.python), str(JUDGE)],
        input=json.dumps(lines),
        env=environment,
        cwd=vllm.models,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    found: list[str] = json.loads(answer.stdout.strip().splitlines()[-1])
    return found


def test_every_combination_of_engine_fields_is_accepted_by_vllms_own_parser(vllm: VllmInstallation) -> None:
    variant = Variant(
        ModelKey(), "argosy/tiny-llama", ("chat", "gpt-4o"), "pool", "L40S", 1, EngineSettings()
    )
    lines = []
    for (tensor, pipeline), *values in itertools.product(SHAPES, *VALUES.values()):
        engine = replace(variant.engine, **dict(zip(VALUES, values, strict=True)))
        each = replace(variant, tensor_parallel=tensor, pipeline_parallel=pipeline, engine=engine)
        lines.append(engine_args(each))
    assert len(lines) == 3 * 2**6 * 3 * 3
    refused = {" ".join(line): said for line, said in zip(lines, judged(vllm, lines), strict=True) if said}
    assert refused == {}


def test_the_parser_does_refuse(vllm: VllmInstallation) -> None:
    unknown, bad = judged(vllm, [["--no-such-flag"], ["--max-num-seqs", "many"]])
    assert "--no-such-flag" in unknown
    assert "--max-num-seqs" in bad
