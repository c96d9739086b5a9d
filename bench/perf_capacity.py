"""What capacities cost and how exact they are: surfaces cold and warm, against direct simulation.

    python bench/perf_capacity.py [--variants 60] [--cells 500] [--only cold|warm|error|noise]

cold:  surfaces of all variants, built in two processes; the first call of each compiles or loads code
warm:  every cell on every variant, in one call, packing of the cells included
error: surface against simulation of the same mix (12,000 requests, another seed), on mixes that the
       grid does not hold, at SLO bounds that the simulator just keeps at 35, 60 and 85 % of saturation
noise: standard deviation of one simulated capacity over ten seeds

Seconds differ between machines; the errors do not, and tests bound them too. perf_capacity.bounds.yaml
has the bounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from argosy.demand.archetypes import AZURE_CONVERSATION, BATCH_DOCUMENTS, mix
from argosy.engine import EngineLimits, StepCoefficients
from argosy.engine.twin import simulate, warm_up
from argosy.perf.capacity.search import CapacitySettings, EngineModel, draw, measure_capacity, saturation
from argosy.perf.capacity.surfaces.build import build_surface
from argosy.perf.capacity.surfaces.cells import cells
from argosy.perf.capacity.surfaces.search import SurfaceStack, capacities, stack
from argosy.perf.capacity.surfaces.store import to_bytes
from argosy.perf.capacity.surfaces.surface import Surface, SurfaceSettings
from argosy.perf.protocol import Capacity
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term

# Silicon of Llama 8B on one GPU and of 70B on four (milliseconds), with their KV blocks of 16 tokens.
# fmt: off
SILICON = {
    "H100-8B": ((6.31, 0.01066, 4.87, 0.00957, 0.099, 4.16e-5, 0.00253, 0.111, 5.33e-4, 7.85e-7), 27_062),
    "L40S-8B": ((22.6, 0.0466, 4.87, 0.0231, 0.104, 1.92e-4, 0.00963, 0.162, 1.24e-3, 2.68e-6), 10_928),
    "A100-8B": ((12.0, 0.0690, 4.72, 0.0040, 0.100, 8.77e-5, 0.00201, 0.100, 1.58e-3, 3.73e-6), 27_062),
    "B200-8B": ((3.25, 0.0109, 3.98, 0.0005, 0.101, 1.89e-5, 0.00199, 0.100, 2.20e-4, 5.18e-7), 74_000),
    "H100-70B": ((13.9, 0.0293, 4.14, 0.0183, 1.333, 3.98e-5, 0.00203, 1.380, 1.10e-3, 1.47e-6), 31_250),
}
# fmt: on
HOST = (0.98, 1.34, 0.046)
SHAPE = 2  # the place of q, which has no unit
CHAT = Slo((SloTerm(Term.TTFT, 0.95, 2000), SloTerm(Term.ITL, 0.95, 100)))
BATCH = Slo((SloTerm(Term.TTFT, 0.95, 10_000), SloTerm(Term.E2E, 0.95, 60_000)))
TERMS = [(term, percentile) for term in Term for percentile in (0.5, 0.95, 0.99)]


def engines(count: int) -> list[EngineModel]:
    """Five GPUs, faster and slower by up to 2, with four sets of engine settings."""
    found = []
    for number in range(count):
        silicon, kv_blocks = list(SILICON.values())[number % len(SILICON)]
        pace = (1.0, 0.7, 1.4)[(number // len(SILICON)) % 3]
        scaled = [value if place == SHAPE else pace * value for place, value in enumerate(silicon)]
        slots, budget = ((256, 8192), (128, 2048), (256, 4096), (512, 16384))[(number // 15) % 4]
        limits = EngineLimits(slots, budget, kv_blocks, 16, 16384)
        found.append(EngineModel(limits, StepCoefficients(*(*scaled, *HOST))))
    return found


def lognormal(prompt: tuple[float, float], output: tuple[float, float], together: bool = False) -> Mix:
    """7 x 7 slices of (mean, cv) each; `together`: long prompts have long outputs."""
    normal = statistics.NormalDist()
    scores = np.array([normal.inv_cdf((k + 0.5) / 7) for k in range(7)])
    lengths = []
    for mean, variation in (prompt, output):
        shape = np.exp(np.sqrt(np.log1p(variation**2)) * scores)
        lengths.append([max(1, round(value)) for value in mean * shape / shape.mean()])
    pairs = list(zip(*lengths, strict=True)) if together else [(p, o) for p in lengths[0] for o in lengths[1]]
    return Mix(tuple(Slice(p, o, 1 / len(pairs)) for p, o in pairs))


def band(low: int, high: int) -> Mix:
    """Azure's conversations with prompts of that length: a route cell."""
    kept = [s for s in mix(AZURE_CONVERSATION, 12, 5).slices if low <= s.prompt_tokens < high]
    total = sum(s.weight for s in kept)
    return Mix(tuple(replace(s, weight=s.weight / total) for s in kept))


def strange_mixes() -> dict[str, Mix]:
    """None of them lies on the grid."""
    azure = mix(AZURE_CONVERSATION)
    return {
        "azure conversation": azure,
        "azure, prompts < 500": band(0, 500),
        "azure, 500 to 1500": band(500, 1500),
        "azure, prompts > 1500": band(1500, 10**6),
        "azure, 40 % cached": Mix(
            tuple(replace(s, cached_tokens=int(0.4 * s.prompt_tokens)) for s in azure.slices)
        ),
        "batch documents": mix(BATCH_DOCUMENTS, 4, 3),
        "bimodal prompts": Mix((Slice(300, 150, 0.6), Slice(3000, 150, 0.4))),
        "bimodal outputs": Mix((Slice(800, 30, 0.7), Slice(800, 900, 0.3))),
        "correlated lengths": lognormal((1200, 0.8), (200, 0.8), together=True),
        "all alike": Mix((Slice(1500, 250, 1.0),)),
        "assistant": lognormal((700, 0.6), (350, 0.7)),
        "retrieval": lognormal((2500, 0.9), (90, 0.5)),
        "writing": lognormal((150, 0.5), (700, 0.9)),
        "summaries": lognormal((5000, 0.4), (60, 1.0)),
        "classification": lognormal((400, 1.0), (20, 0.6)),
    }


def cold(count: int, figures: dict[str, float]) -> list[Surface]:
    """Build all surfaces in two processes, and print how long it took."""
    began = time.perf_counter()
    build = partial(build_surface, settings=SurfaceSettings())
    surfaces = []
    with ProcessPoolExecutor(2) as pool:
        for done, surface in enumerate(pool.map(build, engines(count)), 1):
            surfaces.append(surface)
            print(f"\r  {done}/{count} surfaces", end="", flush=True)
    seconds = time.perf_counter() - began
    began_cpu = time.process_time()
    build_surface(engines(1)[0], SurfaceSettings())
    cpu_seconds = time.process_time() - began_cpu
    size = sum(len(to_bytes(surface)) for surface in surfaces) / 1e6
    print(f"\rcold: {count} surfaces in {seconds:.0f} s with two processes, {size:.1f} MB; "
          f"one takes {cpu_seconds:.1f} s of one core")  # fmt: skip
    figures["cold_s"] = seconds
    return surfaces


def warm(stacked: SurfaceStack, num_cells: int, figures: dict[str, float]) -> None:
    """One call for all cells, chat-like and batch-like SLOs."""
    mixes = list(strange_mixes().values())
    asked = [mixes[k % len(mixes)] for k in range(num_cells)]
    for name, key, slo in (("TTFT and ITL", "ttft_itl", CHAT), ("TTFT and E2E", "ttft_e2e", BATCH)):
        seconds = []
        for _ in range(6):
            began = time.perf_counter()
            answer = capacities(stacked, cells(asked, [slo] * num_cells))
            seconds.append(time.perf_counter() - began)
        figures[f"warm_{key}_ms"] = 1e3 * statistics.median(seconds[1:])
        print(
            f"warm: {num_cells} cells x {len(stacked.surfaces)} variants, {name}: median "
            f"{figures[f'warm_{key}_ms']:.0f} ms, best {1e3 * min(seconds[1:]):.0f} ms "
            f"(first {1e3 * seconds[0]:.0f} ms), outside {answer.outside.mean():.1%}"
        )


def errors(engine: EngineModel, stacked: SurfaceStack, index: int) -> Iterator[tuple[str, np.ndarray]]:
    """Per mix: relative errors of the surface, shape (loads, terms)."""
    settings = CapacitySettings(seed=11, num_requests=12_000)
    for name, asked in strange_mixes().items():
        workload, most = draw(asked, settings), saturation(engine, asked, settings)
        slos, truth = [], []
        for load in (0.35, 0.6, 0.85):
            times = simulate(workload.at_rate(load * most), engine.limits, engine.step_times)
            measured = {Term.TTFT: times.ttft_ms, Term.ITL: times.itl_ms, Term.E2E: times.e2e_ms}
            for term, percentile in TERMS:
                bound = float(np.nanquantile(measured[term][workload.judged], percentile))
                slos.append(Slo((SloTerm(term, percentile, bound),)))
                truth.append(load * most)
        answer = capacities(stacked, cells([asked] * len(slos), slos))
        if answer.outside[0, index]:
            print(f"  {name}: outside, would be simulated")
            continue
        yield name, (answer.requests_per_s[:, index] / np.array(truth) - 1).reshape(3, len(TERMS))


def error(surfaces: list[Surface], figures: dict[str, float]) -> None:
    """Errors on five engines, by term and by load."""
    stacked = stack(surfaces)
    found = []
    for index, engine in enumerate(engines(len(surfaces))[:5]):
        for name, one in errors(engine, stacked, index):
            found.append(one)
            print(f"  {list(SILICON)[index]:9s} {name:22s} median {np.median(abs(one)):6.1%} "
                  f"largest {abs(one).max():6.1%} mean {one.mean():+6.1%}")  # fmt: skip
    every = np.array(found)
    for place, (term, percentile) in enumerate(TERMS):
        print("  " + summary(f"{term} p{100 * percentile:g}", every[:, :, place]))
    for place, load in enumerate((0.35, 0.6, 0.85)):
        print("  " + summary(f"at {load:.0%} of saturation", every[:, place]))
    print(summary("error: all", every))
    size = abs(every)
    figures |= {
        "error_median": float(np.median(size)),
        "error_p90": float(np.quantile(size, 0.9)),
        "error_max": float(size.max()),
    }


def summary(name: str, relative: np.ndarray) -> str:
    """One line of the report."""
    size = abs(relative)
    return (
        f"{name:22s} median {np.median(size):5.1%}  p90 {np.quantile(size, 0.9):5.1%}  "
        f"max {size.max():5.1%}  mean {relative.mean():+5.1%}"
    )


def noise(figures: dict[str, float]) -> None:
    """Monte Carlo error of a directly simulated capacity, and what it costs."""
    figures |= {"noise": 0.0, "noise_ms": 0.0}
    for name, engine in zip(SILICON, engines(5), strict=True):
        rates, began = [], time.perf_counter()
        for seed in range(10):
            answer = measure_capacity(engine, mix(AZURE_CONVERSATION), CHAT, CapacitySettings(seed=seed))
            assert isinstance(answer, Capacity)
            rates.append(answer.requests_per_s)
        each_ms = 1e3 * (time.perf_counter() - began) / 10
        deviation = float(np.std(rates, ddof=1) / np.mean(rates))
        figures["noise"] = max(figures["noise"], deviation)
        figures["noise_ms"] = max(figures["noise_ms"], each_ms)
        print(f"noise: {name:9s} {np.mean(rates):6.2f} requests/s, standard deviation "
              f"{deviation:.1%}, {each_ms:.0f} ms each")  # fmt: skip


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, default=60)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--only", choices=("cold", "warm", "error", "noise"))
    asked = parser.parse_args()
    warm_up()
    parts = (asked.only,) if asked.only else ("cold", "warm", "error", "noise")
    figures: dict[str, float] = {}
    if parts != ("noise",):
        surfaces = cold(asked.variants, figures)
        if "warm" in parts:
            warm(stack(surfaces), asked.cells, figures)
        if "error" in parts:
            error(surfaces, figures)
    if "noise" in parts:
        noise(figures)
    print(json.dumps({"figures": figures}))


if __name__ == "__main__":
    main()
