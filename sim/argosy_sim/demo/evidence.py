"""What was observed while the demo ran: all that the judgement and the report are made from.

Owns the record of a run. Seconds count from the start of act 1 and may be negative for what happened
before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argosy.client.records import RequestRecord
from argosy_sim.demo.story import Story
from argosy_sim.measures.cost import PriceStep


@dataclass(frozen=True, slots=True)
class PlanSeen:
    """A FleetPlan revision. replicas: by variant; shares (0-1): by class name and variant."""

    revision: int
    at_s: float
    trigger: str
    cost_usd_per_hour: float
    replicas: Mapping[str, int]
    shares: Mapping[str, Mapping[str, float]]
    reasons: tuple[str, ...]
    is_applied: bool
    passed_check: bool


@dataclass(frozen=True, slots=True)
class ReplicaSeen:
    """One engine pod's life; None for what did not happen.

    bound_s: a node holds GPUs for it; ready_s: the kubelet's Ready; healthy_s: Envoy counts its
    endpoint healthy for the first time; silent_s: its node fell silent; gone_s: deleted
    """

    pod: str
    variant: str
    class_name: str
    pool: str
    node: str
    address: str
    gpus: int
    bound_s: float
    ready_s: float | None = None
    healthy_s: float | None = None
    unhealthy_s: float | None = None
    silent_s: float | None = None
    gone_s: float | None = None


@dataclass(frozen=True, slots=True)
class StaticPeak:
    """The fleet that the planner gives for every class's highest rate: GPUs by pool, and in words."""

    gpus_by_pool: Mapping[str, int]
    description: str


@dataclass(frozen=True, slots=True)
class ShareSample:
    """Requests that Envoy sent to each cluster of a class since the sample before.

    by_cluster: class name -> variant -> requests
    """

    at_s: float
    by_class: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A whole run.

    load_delay_s: how long a replica of the story's model loads
    trace: the file's name, or the archetype used instead
    dead_node: the node that was ended, None where none was
    left_running: what still ran after everything was stopped
    memory_bytes: the highest resident memory observed, by process name
    not_judged: a sentence for each part of the embedded demo's story that was not told, or not judged
    """

    story: Story
    requests: tuple[RequestRecord, ...]
    plans: tuple[PlanSeen, ...]
    replicas: tuple[ReplicaSeen, ...]
    prices: tuple[PriceStep, ...]
    shares: tuple[ShareSample, ...]
    static_peak: StaticPeak
    load_delay_s: float
    trace: str
    dead_node: str | None
    left_running: tuple[str, ...]
    memory_bytes: Mapping[str, int]
    not_judged: tuple[str, ...] = ()
