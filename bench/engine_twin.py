"""How many requests per second do the compiled engines simulate, and how much faster are they?

    python bench/engine_twin.py [--engines 100] [--requests 10000]

A hundred independent engines in a row, each with its own Poisson arrivals at 0.7 of what it can
serve (1478 prompt and 207 output tokens, an 8B model on an H100 with the host's overhead): without a
prefix cache; with one, where prompts begin with one of a hundred prefixes of 580 tokens (group and
length); and where they are chains of hashes of 512 tokens, as in Mooncake's traces. The same requests
of one engine then go through the Python scheduler. Times are the best of several runs, on one thread
unless stated; compiling is measured apart. CPU time is compared: on a shared machine, the clock also
measures the neighbours. Also printed: the cost of a step time where many are asked at once.
engine_twin.bounds.yaml has the bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from argosy.engine import Prefixes, Requests, simulate, step_ms, twin
from argosy.keys import ModelKey
from argosy.perf import EngineModel, LibraryPerfModel, shipped_library
from argosy.snapshot import EngineSettings, Variant

PROMPT_TOKENS, OUTPUT_TOKENS, LOAD = 1478, 207, 0.7
NUM_PREFIXES, PREFIX_TOKENS, HASH_TOKENS = 100, 580, 512
# The shipped profile of an 8B model in bfloat16 on one H100, with the usual host overhead.
H100 = LibraryPerfModel(shipped_library(), {}).engine(
    Variant(ModelKey(""), "meta-llama/Llama-3.1-8B", (), "", "H100", 1, EngineSettings())
)
assert isinstance(H100, EngineModel)
LIMITS, H100_8B = H100.limits, H100.step_times
RUNS = 7
_LOAD_KERNEL = "from argosy.engine import twin; twin.warm_up()"


def arrivals(rate: float, count: int, seed: int) -> Requests:
    """Poisson arrivals of requests that are all alike."""
    gaps_s = np.random.default_rng(seed).exponential(1 / rate, count)
    return Requests(np.cumsum(gaps_s), np.full(count, PROMPT_TOKENS), np.full(count, OUTPUT_TOKENS))


def in_groups(requests: Requests, seed: int) -> Requests:
    """Each prompt begins with one of NUM_PREFIXES prefixes, the first ones more often (Zipf)."""
    count = len(requests.prompt_tokens)
    groups = np.minimum(np.random.default_rng(seed).zipf(1.2, count) - 1, NUM_PREFIXES - 1)
    prefixes = Prefixes.of_groups(groups, np.full(count, PREFIX_TOKENS))
    return replace(requests, prefixes=prefixes)


def in_chains(requests: Requests, seed: int) -> Requests:
    """The first of three hashes is one of NUM_PREFIXES, the second one of ten after it, the third its own."""
    rng, count = np.random.default_rng(seed), len(requests.prompt_tokens)
    first = rng.integers(0, NUM_PREFIXES, count)
    second = NUM_PREFIXES + 10 * first + rng.integers(0, 10, count)
    ids = np.stack([first, second, 11 * NUM_PREFIXES + np.arange(count)], axis=1).ravel()
    tokens = np.full(count, PROMPT_TOKENS)
    return replace(requests, prefixes=Prefixes(ids, 3 * np.arange(1, count + 1), tokens, HASH_TOKENS))


def saturation_per_s() -> float:
    """Requests/s of one engine that always has a queue."""
    count = 5000
    backlog = Requests(np.zeros(count), np.full(count, PROMPT_TOKENS), np.full(count, OUTPUT_TOKENS))
    return 1e3 * count / float(twin.simulate(backlog, LIMITS, H100_8B).e2e_ms.max())


@dataclass(frozen=True)
class Cost:
    """Seconds of one run: by the clock, and of this thread's CPU time (equal on an idle machine)."""

    wall_s: float
    cpu_s: float


def least_cost(work: Callable[[], object], runs: int = RUNS) -> Cost:
    """The least of several runs: other load on the machine can only add to it."""
    costs = []
    for _ in range(runs):
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        work()
        costs.append(Cost(time.perf_counter() - wall_s, time.thread_time() - cpu_s))
    return Cost(min(cost.wall_s for cost in costs), min(cost.cpu_s for cost in costs))


def process_s(program: str, cache: str) -> float:
    """Seconds of a fresh Python process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return time.perf_counter() - started


def print_start_up() -> dict[str, float]:
    """What the first call in a process costs, with and without compiled code in the cache; figures."""
    with tempfile.TemporaryDirectory() as cache:
        cold_s = process_s(_LOAD_KERNEL, cache)
        warm_s = process_s(_LOAD_KERNEL, cache)
        bare_s = process_s("import argosy.engine", cache)
    print(f"compiling (once per machine)          {cold_s - bare_s:12.1f} s")
    print(f"loading (once per process)            {warm_s - bare_s:12.1f} s")
    return {"compile_s": cold_s - bare_s, "load_s": warm_s - bare_s}


def print_engines(num_engines: int, num_requests: int) -> dict[str, float]:
    """The twin on one and on two threads, and the Python scheduler; figures of the first."""
    twin.warm_up()
    rate = LOAD * saturation_per_s()
    runs = [
        twin.EngineRun(arrivals(rate, num_requests, seed), LIMITS, H100_8B) for seed in range(num_engines)
    ]
    total = num_engines * num_requests
    row = twin.simulate_row(runs)
    totals = row.totals
    batch = totals.batch_ms.sum() / totals.busy_ms.sum()
    print(
        f"each engine: {rate:.2f} requests/s, mean batch {batch:.0f}, "
        f"{totals.num_iterations.sum() / total:.1f} iterations a request"
    )
    first = runs[0].requests
    with ThreadPoolExecutor(2) as pool:
        halves = (runs[::2], runs[1::2])
        two = least_cost(lambda: list(pool.map(twin.simulate_row, halves)))
    plain = least_cost(lambda: simulate(first, LIMITS, H100_8B), 3)
    print(f"{'requests/s':38}{'by the clock':>14}{'per CPU second':>16}{'speed-up':>10}")
    in_a_row = least_cost(lambda: twin.simulate_row(runs))
    ahead = [replace(run, limits=replace(LIMITS, batches_in_flight=2)) for run in runs]
    two_in_flight = least_cost(lambda: twin.simulate_row(ahead))
    groups, chains = (
        [
            replace(run, requests=share(run.requests, seed), limits=replace(LIMITS, prefix_caching=True))
            for seed, run in enumerate(runs)
        ]
        for share in (in_groups, in_chains)
    )
    in_groups_cost = least_cost(lambda: twin.simulate_row(groups))
    in_chains_cost = least_cost(lambda: twin.simulate_row(chains))
    for name, count, cost in (
        (f"twin, {num_engines} engines in a row", total, in_a_row),
        ("the same, two batches in flight", total, two_in_flight),
        ("the same, prefixes by group and length", total, in_groups_cost),
        ("the same, prefixes as chains of hashes", total, in_chains_cost),
        ("twin, one engine", num_requests, least_cost(lambda: twin.simulate(first, LIMITS, H100_8B))),
        ("Python scheduler, one engine", num_requests, plain),
    ):
        ratio = count / cost.cpu_s * plain.cpu_s / num_requests
        print(f"{name:38}{count / cost.wall_s:14,.0f}{count / cost.cpu_s:16,.0f}{ratio:10.0f}")
    print(f"{f'twin, {num_engines} engines, two threads':38}{total / two.wall_s:14,.0f}")
    per_cpu_s = total / in_a_row.cpu_s
    return {
        "requests_per_cpu_s": per_cpu_s,
        "two_in_flight_per_cpu_s": total / two_in_flight.cpu_s,
        "groups_per_cpu_s": total / in_groups_cost.cpu_s,
        "chains_per_cpu_s": total / in_chains_cost.cpu_s,
        "speed_up": per_cpu_s * plain.cpu_s / num_requests,
    }


def print_step_times() -> dict[str, float]:
    """The cost of a step time, asked in vectors of 1000 with arrays allocated before; its figure."""
    rng = np.random.default_rng(1)
    times = H100_8B.step_times(LIMITS.max_num_batched_tokens, LIMITS.max_num_seqs)
    batch = rng.integers(1, 257, 1000)
    chunks = np.stack((rng.integers(0, 4096, (1000, 1)), rng.integers(0, 4096, (1000, 1))), axis=-1)
    cost_s = least_cost(lambda: step_ms(times, batch, 1500 * batch, chunks), 50).cpu_s
    each_us = 1e6 * cost_s / 1000
    print(f"step time, vectors of 1000            {each_us:12.2f} us each")
    return {"step_time_us": each_us}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", type=int, default=100)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    figures = print_start_up()
    figures |= print_engines(options.engines, options.requests)
    figures |= print_step_times()
    print(json.dumps({"figures": figures}))
