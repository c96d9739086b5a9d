"""The engine's scheduler against vLLM's own, iteration by iteration: tokens, found blocks, free blocks.

The last token of a prompt is its own here: where its block is full, vLLM shares that as well, and the engine
does not (docs/design/0003).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from argosy.engine import EngineLimits, EngineRequest, PromptPrefix, Scheduler, StepCoefficients
from argosy_sim.livefleet.runtime.installation import VllmInstallation

PLAYER = Path(__file__).with_name("replay_scheduler.py")
TEN = StepCoefficients(10.0, 0.0, 4.0, 0, 0, 0, 0, 0, 0, 0)
NUM_CASES = 200
OWN, LAST = 1_000, 5_000_000  # tokens that no other prompt has, below and above


def a_case(seed: int, batches_in_flight: int) -> dict[str, Any]:
    """Tight limits, prompts that fork, bursts, and some aborts."""
    rng = np.random.default_rng(seed)
    block_size, slots = int(rng.choice([1, 2, 4, 16])), int(rng.choice([1, 2, 4, 8]))
    limits = EngineLimits(
        max_num_seqs=slots,
        max_num_batched_tokens=slots + int(rng.choice([0, 3, 20, 100])),
        kv_blocks=int(rng.integers(4, 60)),
        block_size=block_size,
        max_model_len=int(rng.choice([40, 200])),
        batches_in_flight=batches_in_flight,
        prefix_caching=True,
    )
    longest = min(int(rng.choice([10, 40, 160])), limits.longest_request - 20)
    requests = []
    for number in range(int(rng.integers(1, 25)) if longest > 0 else 0):
        prompt = int(rng.integers(1, longest + 1))
        shared = int(prompt * rng.choice([0, 0.3, 0.8, 1.0]))
        forks = (np.arange(shared) % max(4, block_size) == 0) & (rng.random(shared) < 0.4)
        tokens = np.where(forks, rng.integers(0, 3, shared), 9).tolist()
        tokens += [OWN + number * 500 + place for place in range(prompt - shared)]
        requests.append([[*tokens[:-1], LAST + number], int(rng.integers(1, 20))])
    moves, following = [], 0
    while following < len(requests):
        end = min(following + int(rng.choice([0, 0, 1, 2, 5])), len(requests))
        victim = int(rng.integers(0, end)) if end and rng.random() < 0.1 else None
        moves.append([list(range(following, end)), victim])
        following = end
    return {**asdict(limits), "requests": requests, "moves": moves}


def prefix_of(tokens: list[int], block_size: int, numbers: dict[tuple[int, ...], int]) -> PromptPrefix | None:
    """A number for each full block with all before it; not that of the last token."""
    count = (len(tokens) - 1) // block_size
    ends = [tuple(tokens[: (place + 1) * block_size]) for place in range(count)]
    ids = tuple(numbers.setdefault(end, len(numbers)) for end in ends)
    return PromptPrefix(ids, count * block_size, block_size) if ids else None


def played(case: dict[str, Any]) -> dict[str, Any]:
    """As `replay_scheduler.played`, by the engine's scheduler."""
    limits = EngineLimits(**{name: case[name] for name in EngineLimits.__slots__})
    engine, numbers, found, cached = Scheduler(limits, TEN), {}, {}, {}  # type: ignore[var-annotated]
    iterations: list[Any] = []
    moves = deque(case["moves"])
    while True:
        arriving, aborted = moves.popleft() if moves else ([], None)
        for number in arriving:
            tokens, output = case["requests"][number]
            prefix = prefix_of(tokens, limits.block_size, numbers)
            engine.add(EngineRequest(number, len(tokens), output, prefix=prefix))
        if aborted is not None:
            engine.abort(aborted)
        step = engine.start_step()
        if step is None:
            if not moves:
                return {"iterations": iterations, "cached": cached}
            iterations.append([0, engine.num_free_blocks, [], engine.num_free_blocks])
            continue
        found |= dict(zip(step.admitted, step.cached_tokens, strict=True))
        num_free, events = engine.num_free_blocks, engine.finish_step()
        cached |= {str(each): found[each] for each in events.first_token_ids}
        tokens = step.num_decodes + step.prefill_tokens
        iterations.append([tokens, num_free, sorted(events.token_ids), engine.num_free_blocks])


@pytest.mark.parametrize("batches_in_flight", [1, 2])
def test_every_iteration_is_that_of_vllms_own_scheduler(
    vllm: VllmInstallation, batches_in_flight: int
) -> None:
    cases = [a_case(seed, batches_in_flight) for seed in range(NUM_CASES)]
    environment = {**os.environ, "VLLM_TARGET_DEVICE": "cpu", "HF_HUB_OFFLINE": "1"}
    answer = subprocess.run(
        [str(vllm.python), str(PLAYER), str(vllm.models / "argosy" / "tiny-llama")],
        input=json.dumps(cases),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    expected = json.loads(answer.stdout.strip().splitlines()[-1])
    different = [seed for seed, case in enumerate(cases) if played(case) != expected[seed]]
    assert different == []
    assert sum(any(each["cached"].values()) for each in expected) > NUM_CASES // 3
