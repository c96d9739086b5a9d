"""What the control loops remember: one value, with one part for each loop.

Owns the shape of `ControlMemory`. Each loop reads both parts and returns only its own; the shell
joins them, so that a traffic iteration during a long decision loses nothing. Everything here
may be lost at a restart: rates, windows and weights are known again within minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from argosy.demand.adapters import AdapterLoads
from argosy.demand.forecast import ClassForecast, DemandHistory
from argosy.demand.observed import ObservedHistory
from argosy.keys import CellName, ClassKey, DeploymentKey, ModelKey, NamespacedName
from argosy.perf.recalibration.memory import CalibrationMemory, CalibrationState
from argosy.perf.recalibration.observe import WindowMemory
from argosy.perf.recalibration.recalibrate import Confidence
from argosy.perf.recalibration.window import CalibrationKey
from argosy.route.weights import CellWeights
from argosy.snapshot.admission.words import ClusterRefusal
from argosy.snapshot.cluster import PodState
from argosy.snapshot.seen import ObjectRef


@dataclass(frozen=True, slots=True)
class EventKey:
    """What an event is about, so that it is posted once while it lasts: reason, object, subject."""

    reason: str
    object: str
    subject: str


@dataclass(frozen=True, slots=True)
class WeightMemory:
    """The weights that the traffic loop last chose, and for which FleetPlan.

    Corrections of one plan mean nothing for another: with a new plan the loop starts at the weights
    that are published.
    """

    plan: str = ""
    by_cell: Mapping[CellName, CellWeights] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodEnds:
    """What is remembered of one pod.

    exits:      how often its engine had ended by itself
    ends_s:     when its grace period, of `grace_s`, ends (seconds since the epoch); None unless it drains
    unfinished: requests that it had at the last scrape, `seen_s`
    is_settled: its drain was judged
    """

    key: str
    model: ModelKey
    exits: int = 0
    ends_s: float | None = None
    grace_s: int = 0
    unfinished: int = 0
    seen_s: float = 0.0
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class BlindMemory:
    """What is lost of sight, as `traffic.blindness` names it.

    since_s:    since when, whether or not it has lasted (monotonic seconds)
    had_envoys: some Envoy has been connected since this process started
    lasting:    what was lost for longer than its limit at the last look
    unread:     what could not be read for that long, such as `all engines`; else empty
    """

    since_s: Mapping[str, float] = field(default_factory=dict)
    had_envoys: bool = False
    lasting: frozenset[str] = frozenset()
    unread: str = ""


@dataclass(frozen=True, slots=True)
class TrafficMemory:
    """The traffic loop's part: what it has measured, and its last outputs.

    adapters:    requests for LoRA adapters
    started_s:   since when demand is measured (seconds since the epoch)
    windows:     counters of engines between two windows of recalibration
    calibration: step times of engines as observed, against their profiles
    silent:      keys of the pods whose engine was silent at the last reading
    observed:    what requests got in the last minutes
    missing_slo: classes whose requests missed their SLO at the last reading
    idle:        keys of the pods that took no requests at the last reading
    ends:        how the engines of pods have ended so far, by UID
    blind:       what is lost of sight
    posted_at_s: when each event was last posted (seconds since the epoch)
    confidence:  how sure each calibration is, with the state that it was worked out for: derived,
                 kept because it takes a third of a millisecond each and changes once per window
    """

    demand: DemandHistory = field(default_factory=DemandHistory)
    adapters: AdapterLoads = field(default_factory=AdapterLoads)
    started_s: float = 0.0
    windows: WindowMemory = field(default_factory=WindowMemory)
    calibration: CalibrationMemory = field(default_factory=CalibrationMemory)
    silent: frozenset[str] = frozenset()
    observed: ObservedHistory = field(default_factory=ObservedHistory)
    missing_slo: frozenset[ClassKey] = frozenset()
    idle: frozenset[str] = frozenset()
    ends: Mapping[str, PodEnds] = field(default_factory=dict)
    weights: WeightMemory = field(default_factory=WeightMemory)
    blind: BlindMemory = field(default_factory=BlindMemory)
    posted_at_s: Mapping[EventKey, float] = field(default_factory=dict)
    confidence: Mapping[CalibrationKey, tuple[CalibrationState, Confidence]] = field(
        default_factory=dict, compare=False
    )


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """What a plan was made for, as far as it explains a smaller fleet than before.

    plan:       its key; empty where the plan was made before this process started
    prices:     US dollars per GPU-hour by pool
    rate_per_s: planned requests/s by class
    specs:      a digest of each object of the users
    leaving:    whether each node was to be removed or emptied
    closed:     the nodes with replicas that took no new ones, and whether replicas were to leave them
    cause:      what had changed since the plan before: Demand, Price, Edit, Nodes, Order, or empty
    """

    plan: str = ""
    prices: Mapping[str, float] = field(default_factory=dict)
    rate_per_s: Mapping[ClassKey, float] = field(default_factory=dict)
    specs: Mapping[ObjectRef, str] = field(default_factory=dict)
    leaving: Mapping[str, bool] = field(default_factory=dict)
    closed: Mapping[str, bool] = field(default_factory=dict)
    cause: str = ""


@dataclass(frozen=True, slots=True)
class KnownCount:
    """The count of a Deployment after a decision; or one that another client set, and when.

    edited: the last count of another client that was accounted for
    before: the count that the decision found; it stays where its step was not taken
    """

    replicas: int
    manager: str = ""
    at_s: float = 0.0
    edited: KnownCount | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Mended:
    """How often one client's changes of a field were set back.

    at_s:    the last times (monotonic seconds)
    pause_s: until it is set back again; 0 while that is done at once
    next_s:  when that may be (monotonic seconds)
    change:  the last one since there are pauses, in words
    """

    manager: str
    at_s: tuple[float, ...] = ()
    pause_s: float = 0.0
    next_s: float = 0.0
    change: str = ""


@dataclass(frozen=True, slots=True)
class EditMemory:
    """What edits by hand are recognised by.

    counts:  of each Deployment that existed at the last decision
    budgets: what each PodDisruptionBudget may hold, what was asked for last
    heals:   what was set back, by Deployment and what it was about
    pods:    the replicas of each Deployment that existed, by key, until their end is accounted for
    orphans: keys of the pods that are reported as having lost labels
    """

    counts: Mapping[DeploymentKey, KnownCount] = field(default_factory=dict)
    budgets: Mapping[DeploymentKey, tuple[int, ...]] = field(default_factory=dict)
    heals: Mapping[tuple[DeploymentKey, str], Mended] = field(default_factory=dict)
    pods: Mapping[DeploymentKey, Mapping[str, PodState]] = field(default_factory=dict)
    orphans: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HeldPool:
    """A pool to which no node came in time: none is asked for until `until_s`.

    held_s:   since when
    since_s:  since when replicas had waited then
    failures: in a row
    All times in seconds since the epoch.
    """

    until_s: float
    held_s: float
    since_s: float
    failures: int = 1


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """What is known of nodes that autoscalers bring.

    waiting_s: since when each pod waits for one, by UID (seconds since the epoch)
    delay_s:   how long one takes, by pool, as observed
    held:      pools to which none came in time
    """

    waiting_s: Mapping[str, float] = field(default_factory=dict)
    delay_s: Mapping[str, float] = field(default_factory=dict)
    held: Mapping[str, HeldPool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """An option that was refused.

    refusal:   by what, and why
    until_s:   it is left alone until then (seconds since the epoch)
    num:       how often in a row
    content:   of the object that refused, in short; empty where it is not known
    believed_s: refusals from before this instant are not believed for a while; None: all are
    """

    refusal: ClusterRefusal
    until_s: float
    num: int
    content: str = ""
    believed_s: float | None = None

    def is_active(self, now_s: float) -> bool:
        """Whether the option is left alone now."""
        return now_s < self.until_s


Quarantines = Mapping[NamespacedName, Quarantine]


@dataclass(frozen=True, slots=True)
class PlanningMemory:
    """The planning loop's part: what the last decision was made for.

    forecasts:      the demand that it was made for, by class (the centres of the forecast bands)
    capacity_per_s: requests/s that one replica of a Deployment carries of a cell
    inputs:         of the plan that is followed
    unrouted:       keys of the ready pods to which some Envoy did not send requests
    first_seen_s:   since when each look lasts that waits for a second one (monotonic seconds)
    edits:          what edits by hand are recognised by
    awaited_s:      since when the removal of each pod has waited for Envoys, by its key (monotonic seconds)
    nodes:          nodes that autoscalers bring
    chosen_s:       since when each of them, and each other pod that is marked, is to go (monotonic seconds)
    quarantines:    what the cluster has refused, by option
    """

    forecasts: Mapping[ClassKey, ClassForecast] = field(default_factory=dict)
    capacity_per_s: Mapping[tuple[CellName, DeploymentKey], float] = field(default_factory=dict)
    inputs: PlanInputs | None = None
    first_seen_s: Mapping[str, float] = field(default_factory=dict)
    unrouted: frozenset[str] = frozenset()
    edits: EditMemory = field(default_factory=EditMemory)
    awaited_s: Mapping[str, float] = field(default_factory=dict)
    chosen_s: Mapping[str, float] = field(default_factory=dict)
    nodes: NodeMemory = field(default_factory=NodeMemory)
    quarantines: Quarantines = field(default_factory=dict)

    def after_restore(self) -> PlanningMemory:
        """Without what was seen of objects in a history of the API server that was undone: their difference
        from what is there now is not an edit, and looks begin anew."""
        forgotten = PlanningMemory()
        return replace(
            forgotten, forecasts=self.forecasts, capacity_per_s=self.capacity_per_s, inputs=self.inputs
        )


@dataclass(frozen=True, slots=True)
class ControlMemory:
    """All control state of one process."""

    traffic: TrafficMemory = field(default_factory=TrafficMemory)
    planning: PlanningMemory = field(default_factory=PlanningMemory)

    def with_traffic(self, traffic: TrafficMemory) -> ControlMemory:
        """The memory after an iteration of the traffic loop."""
        return replace(self, traffic=traffic)

    def with_planning(self, planning: PlanningMemory) -> ControlMemory:
        """The memory after an iteration of the planning loop."""
        return replace(self, planning=planning)
