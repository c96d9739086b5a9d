"""What is recorded while a case runs, and what a judge says of it.

Owns `Outcome` and `Judgement`. Seconds count from the disturbance. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from argosy.client.records import RequestRecord
from argosy_sim.faults.picture import Object, Picture


@dataclass(frozen=True, slots=True)
class Said:
    """A condition that an object had from `at_s` on. `status` is empty where it had none."""

    at_s: float
    object: str
    kind: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was recorded of one case.

    recovery_s: from the disturbance until the world was, and stayed, as `Case.recovered` asks; None:
    not within the case's bound
    revisions: of the FleetPlans made after the disturbance
    said: every condition of classes, models, Fleet and plans, from the disturbance on, each change once
    events: (object, reason, note) of the events made after the disturbance
    pods: engine pods' events on the fleet's nodes after the disturbance, as `livefleet.event_log` has them
    kept: pictures and texts that the case kept by name while it disturbed
    """

    records: tuple[RequestRecord, ...]
    recovery_s: float | None
    revisions: tuple[int, ...]
    last_revision_before: int
    pictures: tuple[Picture, ...]
    said: tuple[Said, ...]
    events: tuple[tuple[str, str, str], ...]
    pods: tuple[Object, ...]
    kept: Mapping[str, str]

    @property
    def lost(self) -> tuple[RequestRecord, ...]:
        """Requests that did not end with 200, every token and [DONE]."""
        return tuple(record for record in self.records if record.is_lost)

    @property
    def first(self) -> Picture:
        """The world at the disturbance."""
        return self.pictures[0]

    @property
    def last(self) -> Picture:
        """The world at the end."""
        return self.pictures[-1]

    def lost_of(self, class_name: str) -> tuple[RequestRecord, ...]:
        """Lost requests of one class."""
        return tuple(record for record in self.lost if record.class_name == class_name)

    def sayings(self, pattern: str, object_: str = "", kind: str = "") -> tuple[Said, ...]:
        """Conditions whose status, reason and message, joined by blanks, contain `pattern`."""
        return tuple(
            each
            for each in self.said
            if each.object.startswith(object_)
            and each.kind.startswith(kind)
            and re.search(pattern, f"{each.status} {each.reason} {each.message}")
        )

    def told(self, pattern: str) -> tuple[str, ...]:
        """Events whose object, reason and note, joined by blanks, contain `pattern`."""
        texts = (" ".join(event) for event in self.events)
        return tuple(text for text in texts if re.search(pattern, text))


@dataclass(frozen=True, slots=True)
class Judgement:
    """One thing that must hold. `found`: what was found instead, or that shows it."""

    sentence: str
    holds: bool
    found: str = ""
