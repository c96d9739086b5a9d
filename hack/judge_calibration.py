"""How far calibrations on a hundred single requests are off, on engines of which the truth is known.

    PYTHONPATH=operator:tests/support python hack/judge_calibration.py

Prints the errors on the 300 requests that were not fitted to (docs/observe.md). Nothing was chosen with these
seeds.
"""

from __future__ import annotations

from collections import defaultdict

from observed_runs import Truth, known, observed, poisson

from argosy.perf.observed.calibrate import Calibrated, calibrated

SEEDS = range(101, 107)
RATES = (2.0, 5.0)
TRUTHS = (
    Truth(s=1.25),
    Truth(s=0.8),
    Truth(compute=1.25),
    Truth(1.25, 0.8, 1.25, 1.25, 1.25),
    Truth(0.8, 1.25, 0.8, 0.75, 1.25),
)
TARGETS = {"ITL mean": 0.01, "E2E mean": 0.015, "TTFT mean": 0.04, "E2E request": 0.03}


def main() -> None:
    """Print the table."""
    before = known()
    own: dict[str, list[float]] = defaultdict(list)
    shipped: dict[str, list[float]] = defaultdict(list)
    for per_s, seed, truth in ((rate, seed, truth) for rate in RATES for seed in SEEDS for truth in TRUTHS):
        run = observed(before, truth, poisson(400, per_s, seed))
        found = calibrated(run, before.question, before.engine, 100)
        if not isinstance(found, Calibrated):
            raise SystemExit(found.message)
        for errors, comparisons in ((own, found.rest), (shipped, found.prior_rest)):
            for one in comparisons:
                errors[f"{one.measure} mean"].append(abs(one.of("mean").error))
                errors[f"{one.measure} request"].append(one.median_request_error)
    for name, target in TARGETS.items():
        errors_of, prior = sorted(own[name]), shipped[name]
        within = sum(error <= target for error in errors_of)
        print(
            f"{name:12} shipped {min(prior):.1%} to {max(prior):.1%}, calibrated: median"
            f" {errors_of[len(errors_of) // 2]:.2%}, worst {errors_of[-1]:.2%}, {within} of {len(errors_of)}"
            f" within {target:.1%}"
        )


if __name__ == "__main__":
    main()
