"""What one iteration of the planning loop decided, as data: plan, routes, steps, statuses, and why.

Owns the shape of a `Decision`, which can print itself. It is complete: `reconcile.act`
writes what it holds, in its order, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.api import FleetPlan
from argosy.api.fleet import FleetStatus, Mode
from argosy.api.fleetplan import FleetPlanStatus
from argosy.api.gpupool import GPUPoolStatus
from argosy.api.routerpolicy import RouterPolicyStatus
from argosy.api.servedmodel import ServedModelStatus
from argosy.api.workloadclass import ObservedTraffic, WorkloadClassStatus
from argosy.control.memory import PlanningMemory
from argosy.keys import ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.plan.solution import PlanReason
from argosy.rollout import Step, describe
from argosy.route.table import RouteTable

MOST_STEPS_NAMED = 4
MOST_CLASSES_NAMED = 5
"""In a log line; of more, it gives the number."""

Status = (
    FleetStatus
    | FleetPlanStatus
    | GPUPoolStatus
    | RouterPolicyStatus
    | ServedModelStatus
    | WorkloadClassStatus
)


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """The status that an object should have; fields that were never set stay as they are.

    `kind` is the plural.
    """

    kind: str
    key: str
    status: Status


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A Kubernetes event about an object. `kind` is the kind's name, `type` Normal or Warning."""

    kind: str
    key: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Reliance:
    """What must still be true when a step is taken (`recheck` compares it with a fresh snapshot).

    plan:     name of the FleetPlan that the step carries out
    classes:  the step's sharing group serves these; one of them must still exist; none: it serves nothing
    serving:  replicas by Deployment that must take requests after a step that removes others
    replicas: the count that the Deployment had; None where it did not exist
    pod_uid:  of the pod that the step changes; empty where it changes none
    scaler:   the autoscaler that names the Deployment that it scales: one that the plan replaces; or empty
    unacknowledged: keys of pods that it removes although some Envoy may send requests to them
    """

    plan: str
    classes: tuple[ClassKey, ...] = ()
    serving: Mapping[DeploymentKey, int] = field(default_factory=dict)
    replicas: int | None = None
    pod_uid: str = ""
    scaler: str = ""
    unacknowledged: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RunningCost:
    """What replicas that run cost: the part of one class, one model and one pool.

    workload_class: empty where the replicas' sharing group is gone
    """

    workload_class: str
    model: ModelKey
    pool: str
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A safe step, and what its safety relies on."""

    step: Step
    relies_on: Reliance


@dataclass(frozen=True, slots=True)
class PlanLife:
    """The statuses of FleetPlans, in the order of writing, and the names of those to delete."""

    statuses: tuple[StatusUpdate, ...] = ()
    expired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one iteration.

    new_plan: a revision to be written, or None where nothing changed
    follow:   the plan whose steps these are (the new one, or the applied one), or None
    life:     statuses and deletions of FleetPlans, once `new_plan` is written
    routes:   what Envoys get while `follow` holds; None where nothing is applied
    steps:    what is safe to do now; empty unless the mode is Auto
    why:      the reasons of the plan, the most important first
    observed: what the requests of each class got in the last minutes
    costs:    what the running replicas cost
    budget_usd_per_hour: that of Fleet; None where it has none
    memory:   the planning loop's part of the memory after this decision
    waits_until_s: a change of the plan waits until then (seconds since the epoch); None: none waits
    look_again_s: a decision is due by then at the latest (seconds since the epoch); None: none is
    is_held:  a user holds planning
    refused:  variants that are left alone because the cluster refuses their replicas, by what refuses them
    alarm:    a bug of Argosy's, in a sentence; then nothing but `statuses` and `events` may be carried out
    doubt:    why the picture cannot be believed, in a sentence: the last plan is kept
    waiting:  why a removal waits for a second look, in a sentence
    draining: replicas that still run for objects which users have deleted
    fleet_gone: that the settings of a Fleet hold which is gone, in a sentence
    set_back: what other clients changed of Deployments and is set back: what it is about, and a sentence
    num_contested: fields that another client keeps changing
    num_autoscaled: Deployments whose number of replicas an autoscaler sets
    nodes_to_come: nodes that the plan uses and that do not exist yet, by pool
    provisioning_s: how long one took, by pool, as observed
    """

    mode: Mode
    new_plan: FleetPlan | None = None
    follow: FleetPlan | None = None
    life: PlanLife = PlanLife()
    routes: RouteTable | None = None
    steps: tuple[PlannedStep, ...] = ()
    statuses: tuple[StatusUpdate, ...] = ()
    events: tuple[EventRecord, ...] = ()
    why: tuple[PlanReason, ...] = ()
    observed: Mapping[ClassKey, ObservedTraffic] = field(default_factory=dict)
    costs: tuple[RunningCost, ...] = ()
    budget_usd_per_hour: float | None = None
    memory: PlanningMemory = field(default_factory=PlanningMemory)
    waits_until_s: float | None = None
    look_again_s: float | None = None
    is_held: bool = False
    alarm: str = ""
    doubt: str = ""
    waiting: str = ""
    draining: int = 0
    fleet_gone: str = ""
    set_back: tuple[tuple[str, str], ...] = ()
    num_contested: int = 0
    num_autoscaled: int = 0
    nodes_to_come: Mapping[str, int] = field(default_factory=dict)
    provisioning_s: Mapping[str, float] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """One sentence: the revision and its cause, each class with its replicas, the cost, the steps."""
        if self.alarm:
            return f"nothing is done: {self.alarm}"
        if self.doubt:
            return f"the last plan is kept: {self.doubt}"
        if self.new_plan is None:
            number = self.follow.spec.revision if self.follow is not None else 0
            return f"revision {number} goes on: {self._steps_text()}"
        spec = self.new_plan.spec
        planned = "; ".join(f"{who}: {what}" for who, what in replicas_by_classes(self.new_plan).items())
        return (
            f"revision {spec.revision} ({spec.trigger}): {planned or 'no replicas'};"
            f" ${spec.cost_usd_per_hour:.2f}/h; {self._steps_text()}"
        )

    def log_fields(self) -> dict[str, object]:
        """The same for programs: members of a JSON log line."""
        found: dict[str, object] = {"mode": self.mode.value, "steps": len(self.steps)}
        if self.new_plan is not None:
            spec = self.new_plan.spec
            found |= {
                "revision": spec.revision,
                "trigger": spec.trigger,
                "cost_usd_per_hour": spec.cost_usd_per_hour,
                "replicas": replicas_by_classes(self.new_plan),
            }
        return found

    def _steps_text(self) -> str:
        """`2 steps: create Deployment a/b with 3 replicas, ...`, or `no step`."""
        texts = [describe(planned.step) for planned in self.steps]
        shown = ", ".join(texts[:MOST_STEPS_NAMED])
        more = f" and {len(texts) - MOST_STEPS_NAMED} more" if len(texts) > MOST_STEPS_NAMED else ""
        count = f"{len(texts)} step{'s' if len(texts) != 1 else ''}" if texts else "no step is due"
        return f"{count}: {shown}{more}" if texts else count


def replicas_by_classes(plan: FleetPlan) -> dict[str, str]:
    """What each sharing group runs, by the classes that share it: `default/chat` -> `3 x variant`."""
    classes: dict[GroupName, dict[ClassKey, None]] = {}
    for cell in plan.spec.cells:
        classes.setdefault(cell.sharing_group, {})[cell.workload_class] = None
    parts: dict[str, list[str]] = {}
    for each in plan.spec.deployments:
        if each.replicas:
            named: list[str] = [*classes.get(each.sharing_group, {})] or [each.sharing_group]
            more = f" and {len(named) - MOST_CLASSES_NAMED} more" if len(named) > MOST_CLASSES_NAMED else ""
            who = ", ".join(named[:MOST_CLASSES_NAMED]) + more
            whose = f" (adopted: {each.deployment})" if each.is_adopted else ""
            parts.setdefault(who, []).append(f"{each.replicas} x {each.variant}{whose}")
    return {who: " + ".join(what) for who, what in sorted(parts.items())}
