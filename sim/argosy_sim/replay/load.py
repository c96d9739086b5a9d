"""Which request is sent when: classes' loads become one list of planned requests.

Owns the `PlannedRequest` and the pairing of arrival times with lengths. Never sends anything and
never looks at a clock. Pure: a class's seed and name determine its requests, whatever the other
classes do.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from argosy_sim.traffic.archetypes import Archetype, sample
from argosy_sim.traffic.arrivals import Schedule, poisson_arrivals_s, trace_patterned_arrivals_s
from argosy_sim.traffic.trace import Trace, TraceRequest

CHAT_PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request to be sent `arrival_s` after the origin of the replay.

    `headers` are those by which its class is recognised. `prefix_blocks`: as in `TraceRequest`.
    """

    id: str
    class_name: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    path: str
    headers: tuple[tuple[str, str], ...]
    model: str
    prefix_blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassLoad:
    """What one workload class asks for.

    Lengths of an archetype arrive as a Poisson process over `schedule`; those of a trace in its
    order and after its pattern. Without a schedule a trace keeps its own times.
    """

    name: str
    model: str
    lengths: Archetype | Trace
    schedule: Schedule | None = None
    seed: int = 0
    path: str = CHAT_PATH
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.schedule is None and isinstance(self.lengths, Archetype):
            raise ValueError(f"class {self.name}: an archetype has no times of its own, it needs a schedule")


def plan_load(loads: Iterable[ClassLoad]) -> tuple[PlannedRequest, ...]:
    """The requests of all classes in the order of arrival; `id` is the class and a number in it."""
    planned = [request for load in loads for request in _planned(load)]
    return tuple(sorted(planned, key=lambda request: (request.arrival_s, request.id)))


def _planned(load: ClassLoad) -> Iterable[PlannedRequest]:
    for number, request in enumerate(_requests(load)):
        yield PlannedRequest(
            id=f"{load.name}-{number:06d}",
            class_name=load.name,
            arrival_s=request.arrival_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            path=load.path,
            headers=load.headers,
            model=load.model,
            prefix_blocks=request.prefix_blocks,
        )


def _requests(load: ClassLoad) -> tuple[TraceRequest, ...]:
    lengths = load.lengths
    if isinstance(lengths, Trace):
        if load.schedule is None:
            return lengths.requests
        return lengths.retimed(
            trace_patterned_arrivals_s(lengths.arrivals_s, load.schedule).tolist()
        ).requests
    # The name is part of the seed: classes with the same seed must not arrive in step.
    seed = np.random.SeedSequence([load.seed, zlib.crc32(load.name.encode())])
    arrivals_rng, lengths_rng = (np.random.default_rng(child) for child in seed.spawn(2))
    arrivals_s = poisson_arrivals_s(load.schedule or (), arrivals_rng)
    drawn = sample(lengths, lengths_rng, len(arrivals_s))
    return tuple(
        TraceRequest(*row)
        for row in zip(
            arrivals_s.tolist(), drawn.prompt_tokens.tolist(), drawn.output_tokens.tolist(), strict=True
        )
    )
