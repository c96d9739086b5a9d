"""`argosy perf observe`, `replay` and `calibrate` against a simulated vLLM server slower than assumed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import until

from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.capacity.search import EngineModel
from argosy.perf.measurements.fit import prior_table
from argosy.perf.measurements.scaled import ScalingFactors, scaled
from argosy.perf.observed.readers.reading import read_run
from argosy.perf.observed.run import ObservedRun
from argosy.perf.profile import Profile
from argosy.snapshot import EngineSettings, Variant
from argosy_sim.livefleet.addresses import AddressClaim, listen_on
from argosy_sim.livefleet.vllm.server import EngineProfile, VllmServer

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
SLOWER = 1.25


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


async def start(*args: str) -> asyncio.subprocess.Process:
    """As from a terminal: where the tests themselves run in the background, Ctrl-C is ignored."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "argosy", "perf", *args),
        stdout=pipe,
        stderr=pipe,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def run(*args: str) -> Ended:
    return await ended(await start(*args))


async def ended(process: asyncio.subprocess.Process) -> Ended:
    stdout, stderr = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


def slower_engine() -> EngineProfile:
    """The L40S of the library, with every part of a step time on the GPU a quarter longer."""
    perf = LibraryPerfModel(shipped_library(), {})
    variant = Variant(ModelKey(""), MODEL, (), "", "L40S", 1, EngineSettings())
    profile, engine = perf.profile(variant), perf.engine(variant)
    assert isinstance(profile, Profile)
    assert isinstance(engine, EngineModel)
    table = prior_table(profile)
    step_times = scaled(table, ScalingFactors(SLOWER, 1.0, 1.0, table.c0, table.cb))
    return EngineProfile(MODEL, (MODEL,), engine.limits, step_times)


@pytest.fixture
async def endpoint() -> AsyncIterator[str]:
    with AddressClaim.claim() as claim:
        listener = listen_on(claim.next_address(), claim.engine_port)
        server = VllmServer(slower_engine(), listener, lambda line: None)
        server.serve()
        yield f"http://{server.endpoint}"
        server.crash()


def write_trace(file: Path, num: int, per_s: float) -> list[tuple[int, int]]:
    """Poisson arrivals of prompts of 40-1,200 tokens; the lengths."""
    rng = np.random.default_rng(5)
    arrivals_ms = np.cumsum(rng.exponential(1e3 / per_s, num)).tolist()
    lengths = list(zip(rng.integers(40, 1200, num).tolist(), rng.integers(4, 40, num).tolist(), strict=True))
    lines = [
        json.dumps({"timestamp": at_ms, "input_length": prompt, "output_length": output})
        for at_ms, (prompt, output) in zip(arrivals_ms, lengths, strict=True)
    ]
    file.write_text("\n".join(lines))
    return lengths


def read(file: Path) -> ObservedRun:
    found = read_run(file.read_bytes(), file.name)
    assert isinstance(found, ObservedRun), found
    return found


async def test_a_hundred_observed_requests_make_a_profile_that_predicts_the_others(
    endpoint: str, tmp_path: Path
) -> None:
    trace, out, profile = (tmp_path / name for name in ("trace.jsonl", "run.jsonl", "profile.json"))
    lengths = write_trace(trace, 160, 12.0)
    to = ("--trace", str(trace), "--out", str(out), "--gpu", "L40S")
    observed = await run("observe", endpoint, *to, "--json")
    assert (observed.code, json.loads(observed.stdout)["num_by_outcome"]) == (0, {"Completed": 160}), observed
    found = read(out)
    assert not found.is_partial
    assert found.engine.model == MODEL
    assert found.engine.kv_blocks == slower_engine().limits.kv_blocks, "as the engine's metrics have it"
    sent = sorted((one.prompt_tokens, one.output_tokens) for one in found.requests)
    assert sent == sorted(lengths), "prompts of exact length"

    before = await run("replay", str(out), "--json")
    assert before.code == 0, before
    document = json.loads(before.stdout)
    assert document["stationary"]["observed"]["state"] in ("Stationary", "Unknown"), "a short run"
    assert document["measures"]["itl"]["mean"]["error"] < -0.1, "the shipped profile is too fast for it"

    made = await run("calibrate", str(out), "--first", "100", "--out", str(profile), "--json")
    assert made.code == 0, made
    rest = json.loads(made.stdout)["rest"]
    after = json.loads((await run("replay", str(out), "--profile", str(profile), "--json")).stdout)
    for measure, bound in (("itl", 0.03), ("e2e", 0.04)):
        # The targets (1 % and 1.5 %) are those of an engine without a busy machine around it.
        assert abs(rest["own"][measure]["mean"]["error"]) < bound, rest["own"]
        assert abs(after["measures"][measure]["mean"]["error"]) < bound, "and the file holds that profile"
        assert rest["own"][measure]["num_requests"] == 60
    show(document["measures"], rest["own"])


def show(before: dict[str, Any], after: dict[str, Any]) -> None:
    """With `pytest -s`: the figures of the run."""
    for measure in before:
        errors = (before[measure]["mean"]["error"], after[measure]["mean"]["error"])
        request = after[measure]["median_request_error"]
        print(f"{measure}: mean {errors[0]:+.1%} before, {errors[1]:+.1%} after, a request {request:.1%}")  # noqa: T201


async def test_an_interrupted_run_leaves_a_file_that_is_marked_and_read(
    endpoint: str, tmp_path: Path
) -> None:
    trace, out = tmp_path / "trace.jsonl", tmp_path / "run.jsonl"
    write_trace(trace, 400, 10.0)
    process = await start("observe", endpoint, "--trace", str(trace), "--out", str(out))
    await asyncio.to_thread(
        until, lambda: out.exists() and out.read_text().count("\n") >= 8, "some requests to be answered"
    )
    process.send_signal(signal.SIGINT)
    stopped = await ended(process)
    assert stopped.code == 3, stopped
    assert "interrupted, so the file is marked" in stopped.stdout
    assert "Traceback" not in stopped.stderr
    found = read(out)
    assert found.is_partial
    assert 5 < len(found.requests) < 400
    assert (
        "interrupted: its last requests are missing"
        in (await run("replay", str(out), "--gpu", "L40S")).stdout
    )


async def test_failures_are_kept_with_their_causes(endpoint: str, tmp_path: Path) -> None:
    trace, out = tmp_path / "trace.jsonl", tmp_path / "run.jsonl"
    sizes = [(100, 30), (50, 20), (500_000, 5)]
    lines = [json.dumps({"timestamp": 0, "input_length": p, "output_length": o}) for p, o in sizes]
    trace.write_text("\n".join(lines))
    observed = await run(
        "observe", endpoint, "--trace", str(trace), "--out", str(out), "--max-in-flight", "1"
    )
    assert observed.code == 3, observed
    assert "3 requests planned: 1 Completed, 2 Refused" in observed.stdout
    found = read(out)
    assert [one.cause for one in found.failed] == ["Refused: 1 requests were in flight"] * 2
    out.unlink()
    await run("observe", endpoint, "--trace", str(trace), "--out", str(out))
    [failed] = read(out).failed
    assert failed.cause.startswith("HttpError: status 400")
    assert "maximum context length" in failed.cause


async def test_an_endpoint_that_cannot_be_used_is_named(endpoint: str, tmp_path: Path) -> None:
    trace, out = tmp_path / "trace.jsonl", tmp_path / "run.jsonl"
    write_trace(trace, 3, 10.0)
    to = ("--trace", str(trace), "--out", str(out))
    other = await run("observe", endpoint, *to, "--model", "other")
    assert (other.code, other.stderr) == (
        2,
        f"argosy perf observe: --model: 'other' is not served there; served are {MODEL}\n",
    )
    nothing = await run("observe", "http://127.0.0.1:9", *to)
    assert nothing.code == 2
    assert nothing.stderr.startswith("argosy perf observe: URL: http://127.0.0.1:9 does not answer: ")
    assert not out.exists(), "no file without an observation"
