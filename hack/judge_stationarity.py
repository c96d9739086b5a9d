"""How often the verdict on a run is wrong, on queues of which the answer is known.

    PYTHONPATH=operator:hack python hack/judge_stationarity.py

Prints the share of each verdict over seeds that were not looked at when the test's limits were chosen
(those were 0-399, 5000-5399 and 9000-9299). A time unit is one mean service. Queues begin empty, or with a
backlog: requests that came at time 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from argosy.arrays import Floats
from argosy.engine.stationarity import Stationarity, judge_run

NUM_SEEDS, FIRST_SEED = 400, 100_000
Draw = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True, slots=True)
class Queue:
    """One server in the order of arrival: Poisson arrivals at `load`, services with mean 1.

    backlog: requests that are there at the start, beside `num_requests` that arrive
    """

    name: str
    load: float
    num_requests: int
    backlog: int = 0
    services: Draw = lambda rng, count: rng.exponential(1.0, count)

    def run(self, seed: int) -> tuple[Floats, Floats]:
        """When requests came and left, shape (backlog + num_requests,) each.

        Lindley's recursion without a loop: a request leaves after all services since the last idle moment,
        d_i = max over j <= i of (a_j + s_j + ... + s_i).
        """
        rng = np.random.default_rng(seed)
        arrivals = np.cumsum(rng.exponential(1.0 / self.load, self.num_requests))
        arrivals = np.concatenate([np.zeros(self.backlog), arrivals])
        served = np.cumsum(self.services(rng, len(arrivals)))
        before = np.concatenate([[0.0], served[:-1]])
        return arrivals, served + np.maximum.accumulate(arrivals - before)


@dataclass(frozen=True, slots=True)
class ManyServers:
    """Each request is served at once, as by an engine far from its limits: 8 per second, 32 in the system."""

    name: str
    num_requests: int

    def run(self, seed: int) -> tuple[Floats, Floats]:
        """As of `Queue`."""
        rng = np.random.default_rng(seed)
        arrivals = np.cumsum(rng.exponential(1.0 / 8.0, self.num_requests))
        return arrivals, arrivals + rng.lognormal(np.log(4.0) - 0.18, 0.6, self.num_requests)


def verdicts(queue: Queue | ManyServers, seeds: range) -> dict[Stationarity, float]:
    """The share (0-1) of each verdict over the seeds."""
    found = Counter(judge_run(*queue.run(seed)).state for seed in seeds)
    return {state: found[state] / len(seeds) for state in Stationarity}


def _constant(rng: np.random.Generator, count: int) -> Floats:
    return np.ones(count)


def _heavy(rng: np.random.Generator, count: int) -> Floats:
    """A squared coefficient of variation of 4."""
    variance = np.log(5.0)
    return rng.lognormal(-variance / 2, np.sqrt(variance), count)


def cases() -> Iterator[Queue | ManyServers]:
    """What the table has."""
    for count in (500, 2000, 5000, 20_000, 100_000):
        for load in (0.5, 0.8, 0.95, 1.05, 1.2):
            yield Queue("M/M/1", load, count)
    for load in (0.5, 0.8, 0.95, 1.05, 1.2):
        yield Queue("M/D/1", load, 20_000, services=_constant)
    for load in (0.5, 0.8, 1.2):
        yield Queue("M/G/1, cv^2 4", load, 20_000, services=_heavy)
    for backlog in (50, 200, 500, 900):
        yield Queue(f"M/M/1 after {backlog}", 0.8, 5000, backlog)
    for count in (200, 300, 500, 1000, 2000):
        yield ManyServers("M/G/inf", count)


def main() -> None:
    """Print the table."""
    print(f"{'':18} {'load':>5} {'requests':>9}  " + "  ".join(f"{state:>10}" for state in Stationarity))
    for queue in cases():
        shares = verdicts(queue, range(FIRST_SEED, FIRST_SEED + NUM_SEEDS))
        load = f"{queue.load:g}" if isinstance(queue, Queue) else ""
        figures = "  ".join(f"{100 * share:>8.1f} %" for share in shares.values())
        print(f"{queue.name:18} {load:>5} {queue.num_requests:>9,}  {figures}", flush=True)


if __name__ == "__main__":
    main()
