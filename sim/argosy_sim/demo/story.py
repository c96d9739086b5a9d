"""The demo's story: acts, rates, shocks, prices, SLOs.

Owns what happens and when; `run` makes it happen. Seconds count from the moment at which every
replica of the first plan is Ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from argosy.snapshot import Slo, SloTerm, Term
from argosy_sim.traffic import RateStep, Schedule

ACT_S = 60.0
DRAIN_S = 90.0
"""For the last requests; longer than the batch class's E2E bound: one that takes longer has not kept it."""


class Shock(StrEnum):
    """What changes in the cluster or its load at the start of an act."""

    NONE = "none"
    BURST = "burst"
    NODE_DEATH = "node death"
    NODE_REMOVAL = "node removal"
    """Cordoned, and its replicas deleted with a second of grace: the operator learns of it at once."""
    PRICE_CHANGE = "price change"


@dataclass(frozen=True, slots=True)
class Act:
    """One act: when, at which rate each class sends (requests/s), and what changes at its start."""

    name: str
    start_s: float
    end_s: float
    rate_per_s: Mapping[str, float]
    shock: Shock = Shock.NONE


@dataclass(frozen=True, slots=True)
class StoryClass:
    """One class of the story: its SLO and how its requests are marked."""

    name: str
    slo: Slo
    archetype: str
    headers: tuple[tuple[str, str], ...]
    model: str


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is known before the demo begins.

    price_change: pool and its new price per GPU-hour, from the start of the act with that shock
    """

    acts: tuple[Act, ...]
    classes: tuple[StoryClass, ...]
    price_change: tuple[str, float]

    @property
    def duration_s(self) -> float:
        """Seconds from the first act's start to the last one's end."""
        return self.acts[-1].end_s

    def schedule(self, class_name: str) -> Schedule:
        """A class's rates over the whole run."""
        return tuple(RateStep(a.start_s, a.end_s, a.rate_per_s[class_name]) for a in self.acts)

    def peak_rate_per_s(self, class_name: str) -> float:
        """A class's highest rate over 60 s."""
        return max(a.rate_per_s[class_name] for a in self.acts)


def default_story(rate_factor: float = 1.0) -> Story:
    """Steady, a burst, a node's death, a price change; `rate_factor` multiplies every rate."""
    acts_in_order = (
        ("steady", 8.0, Shock.NONE),
        ("burst", 16.0, Shock.BURST),
        ("node dies", 8.0, Shock.NODE_DEATH),
        ("price change", 8.0, Shock.PRICE_CHANGE),
    )
    acts = tuple(
        Act(
            name=name,
            start_s=i * ACT_S,
            end_s=(i + 1) * ACT_S,
            rate_per_s={"chat": chat * rate_factor, "batch": 0.3 * rate_factor},
            shock=shock,
        )
        for i, (name, chat, shock) in enumerate(acts_in_order)
    )
    chat_slo = Slo((SloTerm(Term.TTFT, 0.95, 2000.0), SloTerm(Term.ITL, 0.95, 100.0)))
    batch_slo = Slo((SloTerm(Term.TTFT, 0.95, 10_000.0), SloTerm(Term.E2E, 0.95, 60_000.0)))
    classes = (
        StoryClass("chat", chat_slo, "azure-conversation", (("x-argosy-class", "chat"),), "llama-8b"),
        StoryClass("batch", batch_slo, "batch-documents", (("x-argosy-class", "batch"),), "llama-8b"),
    )
    return Story(acts=acts, classes=classes, price_change=("h100", 2.0))
