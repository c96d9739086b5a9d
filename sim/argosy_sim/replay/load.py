"""Which request is sent when, and how: classes' loads become one list of planned requests.

Owns what turns offered requests into requests of an OpenAI-compatible endpoint: path, headers, model,
id. When they arrive and how long they are is `traffic.requests`. Input: `ClassLoad`s. Output:
`PlannedRequest`s. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.client.planned import CHAT_PATH, PlannedRequest
from argosy.traces.trace import Trace
from argosy_sim.traffic.archetypes import Archetype
from argosy_sim.traffic.arrivals import Schedule
from argosy_sim.traffic.requests import offered_requests


@dataclass(frozen=True, slots=True)
class ClassLoad:
    """What one workload class sends; lengths and schedule as in `offered_requests`.

    Raises ValueError for an archetype without a schedule.
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
    offered = offered_requests(load.lengths, load.schedule, load.seed, load.name)
    columns = (offered.arrival_s.tolist(), offered.prompt_tokens.tolist(), offered.output_tokens.tolist())
    for number, (arrival_s, prompt, output, blocks) in enumerate(
        zip(*columns, offered.prefix_blocks, strict=True)
    ):
        yield PlannedRequest(
            id=f"{load.name}-{number:06d}",
            class_name=load.name,
            arrival_s=arrival_s,
            prompt_tokens=prompt,
            output_tokens=output,
            path=load.path,
            headers=load.headers,
            model=load.model,
            prefix_blocks=blocks,
        )
