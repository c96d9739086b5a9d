"""Measure one real engine with `vllm bench serve`, and make its profile with `argosy perf import`.

The engine is started by the runtime that the live fleet uses, on a core of its own, with the flags that the
operator gives to its pods. Output: reports, the profile, and what clients measured at two open-loop loads.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argosy_sim.livefleet.addresses import AddressClaim
from argosy_sim.livefleet.kubelet.probes import get
from argosy_sim.livefleet.runtime.contract import EngineStart
from argosy_sim.livefleet.runtime.installation import MODEL, VllmInstallation
from argosy_sim.livefleet.runtime.process import ProcessEngine, ProcessRuntime

CARD, MEMORY_GIB = "cpu-core", 8
PROMPT_TOKENS, OUTPUT_TOKENS = 128, 64
CLOSED = ((1, 12), (4, 24), (16, 64), (32, 96))
"""Requests in flight, and how many in all."""
OPEN = ((1.0, 60), (2.0, 120))
"""Requests per second, and how many in all."""
LIMITS = {"--max-num-seqs": 32, "--max-num-batched-tokens": 2048, "--max-model-len": 4096}
LOADED_S = 300.0
_BENCH = Path(__file__).parents[1] / "vllm" / "bench_engine.py"
_FLAGS = ("--load-format", "dummy", "--enforce-eager", "--dtype", "bfloat16")


@dataclass(frozen=True, slots=True)
class Measured:
    """profile: the file's content. seen: by requests per second, what the client reported."""

    profile: bytes
    said: str
    seen: dict[float, dict[str, Any]]


def measure(vllm: VllmInstallation, folder: Path) -> Measured:
    """Takes some four minutes on two idle cores."""
    with AddressClaim.claim() as claim:
        reports, seen = asyncio.run(_benchmarks(vllm, claim, folder))
    out = folder / "profile.json"
    config = vllm.models / MODEL / "config.json"
    command = [sys.executable, "-m", "argosy", "perf", "import", *map(str, reports), "--model", MODEL]
    command += ["--config", str(config), "--gpu", CARD, "--gpu-memory", str(MEMORY_GIB), "--out", str(out)]
    command += [word for flag, value in LIMITS.items() for word in (flag, str(value))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Measured(out.read_bytes(), done.stdout, seen)


async def _benchmarks(
    vllm: VllmInstallation, claim: AddressClaim, folder: Path
) -> tuple[list[Path], dict[float, dict[str, Any]]]:
    async with serving(vllm, claim.next_address(), claim.engine_port) as engine:
        reports = []
        for concurrency, count in CLOSED:
            how = ("--max-concurrency", str(concurrency), "--num-prompts", str(count))
            reports.append(await _bench(vllm, engine, folder / f"closed-{concurrency}.json", how))
        seen = {}
        for rate, count in OPEN:
            how = ("--request-rate", str(rate), "--num-prompts", str(count))
            report = await _bench(vllm, engine, folder / f"open-{rate:g}.json", how)
            seen[rate] = json.loads(report.read_text())
    return reports, seen


@asynccontextmanager
async def serving(vllm: VllmInstallation, address: str, port: int) -> AsyncIterator[ProcessEngine]:
    """One engine of the tiny model, called `tiny`, that answers at this address."""
    engine = await _started(vllm, address, port)
    try:
        yield engine
    finally:
        give_up_s = time.monotonic() + 30
        await engine.terminate(lambda: time.monotonic() > give_up_s)
        await engine.ended()


async def _started(vllm: VllmInstallation, address: str, port: int) -> ProcessEngine:
    limits = [word for flag, value in LIMITS.items() for word in (flag, str(value))]
    words = ["--model", MODEL, "--served-model-name", "tiny", "--port", str(port)]
    container = {
        "args": [*words, *limits, *_FLAGS],
        "env": [{"name": "VLLM_CPU_KVCACHE_SPACE", "value": "3"}],
    }
    lines: list[str] = []
    start = EngineStart(
        container,
        address,
        {},
        CARD,
        lines.append,
        lambda code, why: lines.append(f"{code} {why}"),
    )
    engine = ProcessRuntime(vllm.python, vllm.models).start(start)
    assert isinstance(engine, ProcessEngine)
    await engine.load()
    give_up_s = time.monotonic() + LOADED_S
    while not await _is_healthy(engine):
        assert time.monotonic() < give_up_s, "\n".join(lines[-20:])
        await asyncio.sleep(0.5)
    return engine


async def _is_healthy(engine: ProcessEngine) -> bool:
    try:
        return await get(engine.endpoint, "/health")
    except OSError:
        return False


async def _bench(vllm: VllmInstallation, engine: ProcessEngine, report: Path, how: tuple[str, ...]) -> Path:
    command = [str(vllm.python), str(_BENCH), "--backend", "vllm", "--base-url", f"http://{engine.endpoint}"]
    command += ["--model", "tiny", "--tokenizer", str(vllm.models / MODEL), "--dataset-name", "random"]
    command += ["--random-input-len", str(PROMPT_TOKENS), "--random-output-len", str(OUTPUT_TOKENS)]
    command += ["--ignore-eos", "--disable-tqdm", "--percentile-metrics", "ttft,tpot,itl,e2el", *how]
    command += ["--num-warmups", "2", "--save-result", "--result-dir", str(report.parent)]
    environment = {**os.environ, "VLLM_TARGET_DEVICE": "cpu", "HF_HUB_OFFLINE": "1"}
    running = await asyncio.create_subprocess_exec(
        *command,
        "--result-filename",
        report.name,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await running.communicate()
    assert running.returncode == 0, output.decode(errors="replace")[-3000:]
    return report
