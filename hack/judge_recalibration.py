"""How well recalibration finds what is wrong with a profile, on simulated engines of which it is known.

    PYTHONPATH=operator:tests/support python hack/judge_recalibration.py

The engines of `tests/support/scraped_engine.py`, scraped every 2 s with jitter, 3 % noise of 15 s at a
time, loads of 0.3-0.9 of what they carry. Prints errors of the mean iteration at loads of 0.3, 0.6 and 0.9
(the largest of the three) and what was found of prefill. The seeds are not those that the limits of
`perf.recalibration.fit` were chosen with (0-5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from recalibration_windows import H100, KEY, L40S, LIMITS, prior_of
from scraped_engine import ScrapedEngine, Scraper, Traffic

from argosy.engine import StepCoefficients
from argosy.engine.step_times import StepTimeSource, step_ms
from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.perf.recalibration.fit import estimate
from argosy.perf.recalibration.memory import CalibrationMemory
from argosy.perf.recalibration.observe import ObservedReplica, WindowMemory, observe
from argosy.perf.recalibration.recalibrate import recalibrate
from argosy.perf.recalibration.window import Window

SEEDS = range(100, 120)
LOADS = (0.3, 0.6, 0.9)
COUNTS = (4, 8, 12, 20, 40, 60)
PROMPT_TOKENS, OUTPUT_TOKENS, CONTEXT_TOKENS = 1155.0, 211.0, 1366.0


@dataclass(frozen=True, slots=True)
class Case:
    """A card, the truth about it, and requests/s at full load of an engine as the profile has it."""

    name: str
    prior: StepCoefficients
    truth: Calibration
    full_load_per_s: float

    def load_per_s(self, load: float) -> float:
        """A share of what the true engine carries."""
        guess, truth = HOST_OVERHEAD.applied_to(self.prior), self.truth.applied_to(self.prior)
        mixed = [(PROMPT_TOKENS, 0.0)]
        return (
            load
            * self.full_load_per_s
            * step_ms(guess, 64, 80_000, mixed)
            / step_ms(truth, 64, 80_000, mixed)
        )

    def mean_ms(self, source: StepTimeSource, load: float) -> float:
        """The mean iteration under the true engine's batch: B = rate x output x step time."""
        rate_per_s, short_ms, long_ms = self.load_per_s(load), 0.1, 400.0
        truth = self.truth.applied_to(self.prior)
        for _ in range(50):
            step = (short_ms + long_ms) / 2.0
            mean = _mixed_ms(truth, rate_per_s, step)
            short_ms, long_ms = (step, long_ms) if mean > step else (short_ms, step)
        return _mixed_ms(source, rate_per_s, step)

    def windows(self, num: int, seed: int) -> list[Window]:
        """Of one engine whose load changes every 20-60 s."""
        rng = np.random.default_rng(seed)
        engine = ScrapedEngine(LIMITS, self.truth.applied_to(self.prior), rng, noise=0.03)
        memory, windows = WindowMemory(), list[Window]()
        while len(windows) < num:
            load = Traffic(self.load_per_s(float(rng.uniform(0.3, 0.9))))
            for sample in engine.scrapes(load, float(rng.uniform(20.0, 60.0)), Scraper()):
                seen = observe(memory, {"r": ObservedReplica(KEY, sample)}, sample.at_s + 0.3)
                memory = seen.memory
                windows += seen.windows
        return windows[:num]

    def found(self, windows: Sequence[Window]) -> Calibration:
        """What is learnt of the profile from these windows."""
        priors = {KEY: prior_of(self.prior)}
        memory, _ = recalibrate(CalibrationMemory(), windows, priors, windows[-1].end_s)
        state = memory.states[KEY]
        return estimate(state.evidence, state.start)

    def error(self, found: Calibration) -> float:
        """The largest relative error over `LOADS`."""
        guess, truth = found.applied_to(self.prior), self.truth.applied_to(self.prior)
        return max(abs(self.mean_ms(guess, load) / self.mean_ms(truth, load) - 1.0) for load in LOADS)


def _mixed_ms(source: StepTimeSource, rate_per_s: float, step: float) -> float:
    batch = min(255.0, rate_per_s * OUTPUT_TOKENS * step / 1e3)
    share = rate_per_s * step / 1e3
    alone = step_ms(source, batch, batch * CONTEXT_TOKENS)
    with_prompt = step_ms(source, batch, batch * CONTEXT_TOKENS, [(PROMPT_TOKENS, 0.0)])
    return alone + share * (with_prompt - alone)


def cases() -> Iterator[Case]:
    """What the table has."""
    for name, prior, full in (("H100", H100, 20.0), ("L40S", L40S, 4.6)):
        prefill = 0.3 * float(prior.step_times(8192, 1).matrix_ms[-1]) / 8192
        yield Case(f"{name}, as its profile", prior, HOST_OVERHEAD, full)
        yield Case(f"{name}, silicon 43 % slow", prior, Calibration(1.4, 1.34, 0.046), full)
        yield Case(f"{name}, prefill 30 % slow", prior, Calibration(0.98, 1.34, 0.046, prefill), full)
        yield Case(f"{name}, both", prior, Calibration(1.4, 1.34, 0.046, prefill), full)


def main() -> None:
    """Print a line per case: errors by the number of windows, then prefill."""
    heads = "  ".join(f"{count:>11}" for count in COUNTS)
    print(f"{'error: root mean square, worst (%)':38} before  {heads}")
    for case in cases():
        runs = [case.windows(COUNTS[-1], seed) for seed in SEEDS]
        cells, shares = [], []
        for count in COUNTS:
            known = [case.found(windows[:count]) for windows in runs]
            errors = 100.0 * np.array([case.error(found) for found in known])
            cells.append(f"{np.sqrt(np.mean(errors**2)):>5.1f} {errors.max():>5.1f}")
            prefills = np.array([found.prefill_ms_per_token for found in known])
            shares.append(_prefill(prefills, case.truth.prefill_ms_per_token))
        print(f"{case.name:38} {100 * case.error(HOST_OVERHEAD):>6.1f}  {'  '.join(cells)}")
        print(f"{'  prefill: found in % of runs, median':38} {'':6}  {'  '.join(shares)}", flush=True)


def _prefill(found: np.ndarray[tuple[int], np.dtype[np.float64]], truth: float) -> str:
    moved = found[found != 0.0]
    share = f"{100 * len(moved) / len(found):>5.0f}"
    ratio = f"{np.median(moved) / truth:>5.2f}" if truth and len(moved) else f"{'':5}"
    return f"{share} {ratio}"


if __name__ == "__main__":
    main()
