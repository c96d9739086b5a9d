"""A real engine, observed request by request; a profile of its first requests predicts the others."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operator_stage import Say
from vllm_measuring import CARD, LIMITS, MEMORY_GIB, serving

from argosy.perf.observed.readers.reading import read_run
from argosy.perf.observed.run import ObservedRun
from argosy_sim.livefleet.addresses import AddressClaim
from argosy_sim.livefleet.runtime.installation import MODEL, VllmInstallation

NUM, FIRST, PER_S = 120, 80, 0.75
"""At twice this rate a core that others use, too, is overloaded at times."""
pytestmark = pytest.mark.timeout(900)


def write_trace(file: Path) -> list[tuple[int, int]]:
    """Poisson arrivals; the lengths."""
    rng = np.random.default_rng(11)
    arrivals_ms = np.cumsum(rng.exponential(1e3 / PER_S, NUM)).tolist()
    lengths = list(zip(rng.integers(30, 400, NUM).tolist(), rng.integers(8, 64, NUM).tolist(), strict=True))
    lines = [
        json.dumps({"timestamp": at_ms, "input_length": prompt, "output_length": output})
        for at_ms, (prompt, output) in zip(arrivals_ms, lengths, strict=True)
    ]
    file.write_text("\n".join(lines))
    return lengths


async def perf(*args: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `argosy perf ARGS --json`."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "argosy", "perf", *args, "--json")
    running = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    stdout, stderr = await running.communicate()
    assert running.returncode in (0, 3), stderr.decode()
    return running.returncode, json.loads(stdout)


async def test_observe_calibrate_replay(vllm: VllmInstallation, tmp_path: Path, say: Say) -> None:
    trace, out, profile = (tmp_path / name for name in ("trace.jsonl", "run.jsonl", "profile.json"))
    lengths = write_trace(trace)
    with AddressClaim.claim() as claim:
        async with serving(vllm, claim.next_address(), claim.engine_port) as engine:
            url = f"http://{engine.endpoint}"
            code, seen = await perf("observe", url, "--trace", str(trace), "--out", str(out))
    assert (code, seen["num_by_outcome"]) == (0, {"Completed": NUM})
    run = read_run(out.read_bytes(), out.name)
    assert isinstance(run, ObservedRun), run
    sent = sorted((one.prompt_tokens, one.output_tokens) for one in run.requests)
    assert sent == sorted(lengths), "the server counted as many tokens as the trace has"
    assert run.engine.model == "tiny"
    assert run.engine.version is not None
    assert run.engine.max_model_len == LIMITS["--max-model-len"]
    assert run.engine.kv_blocks is not None

    described = ("--model", MODEL, "--config", str(vllm.models / MODEL / "config.json"), "--gpu", CARD)
    described += ("--gpu-memory", str(MEMORY_GIB))
    described += tuple(word for flag, value in LIMITS.items() for word in (flag, str(value)))
    _, made = await perf("calibrate", str(out), "--first", str(FIRST), "--out", str(profile), *described)
    _, again = await perf("replay", str(out), "--profile", str(profile), *described)
    say(f"vLLM {run.engine.version}, {run.engine.kv_blocks} blocks")
    say(again["stationary"]["observed"]["message"])
    for measure, found in made["rest"]["own"].items():
        mean, p95 = found["mean"], found["p95"]
        say(
            f"{measure}: {found['num_requests']} requests not fitted to, mean {mean['observed_ms']:.1f} ms"
            f" ({mean['error']:+.1%}), p95 {p95['error']:+.1%}, a request {found['median_request_error']:.1%}"
        )
        # Two cores that others use, too: of the right order, no more; and queues make more of every delay.
        assert measure == "ttft" or 0.4 < mean["predicted_ms"] / mean["observed_ms"] < 2.5
    assert again["measures"]["e2e"]["num_requests"] == NUM
