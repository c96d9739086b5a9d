"""FleetPlan: one revision of the decision, with its reasons.

Owns the fields and bounds of the kind. `spec` is the decision and never changes; `status` is
its life. Written by Argosy, read by everybody: an xDS snapshot is built from it. The bounds keep
a plan within what etcd takes; the writer summarises what would not fit.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.resource import AGE, Column, Resource, Scope, condition_column
from argosy.api.rule import Rule
from argosy.api.value import (
    Amount,
    Count,
    KeyedBy,
    ObjectName,
    Sentence,
    Share,
    ShortText,
    Value,
)
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName


class NodeReplicas(Value):
    """Replicas of one deployment on one node."""

    node: ObjectName = Field(description="Name of the node.")
    replicas: int = Field(ge=1, description="Replicas that are to run there.")


class PlannedDeployment(Value):
    """One variant in one sharing group: how many replicas, and where."""

    name: DeploymentKey = Field(description="Namespace and name of the Deployment, joined by a slash.")
    namespace: ObjectName = Field(description="Namespace of the Deployment.")
    deployment: ObjectName = Field(description="Name of the Deployment.")
    model: ObjectName = Field(description="Name of the ServedModel.")
    variant: ObjectName = Field(
        description="Name of the variant: model, pool, parallel shape and engine settings."
    )
    pool: ObjectName = Field(description="GPUPool that it runs in.")
    sharing_group: GroupName = Field(
        description="Sharing group that it serves: the WorkloadClasses that share its replicas."
    )
    tensor_parallel: int = Field(ge=1, description="GPUs that share each layer of one replica.")
    pipeline_parallel: int = Field(1, ge=1, description="Stages that the layers are spread over.")
    gpus_per_replica: int = Field(ge=1, description="GPUs of one replica.")
    replicas: Count = Field(description="Replicas in all.")
    nodes: Annotated[tuple[NodeReplicas, ...], Field(max_length=256), KeyedBy("node")] = Field(
        (), description="Replicas by node. Empty where the pool leaves placement to the scheduler."
    )


class CellShare(Value):
    """The part of a route cell's traffic that goes to one deployment."""

    deployment: DeploymentKey = Field(description="Namespace and name of the Deployment, joined by a slash.")
    share: Share = Field(description="Share (0-1) of the cell's requests.")


class PlannedCell(Value):
    """One route cell: the traffic it has, and where it goes."""

    name: CellName = Field(description="Name of the route cell.")
    workload_class: ClassKey = Field(
        description="Namespace and name of its WorkloadClass, joined by a slash."
    )
    sharing_group: GroupName = Field(description="Sharing group whose replicas serve it.")
    requests_per_second: Amount = Field(description="Rate that the plan reckons with, per second.")
    shares: Annotated[tuple[CellShare, ...], Field(max_length=32), KeyedBy("deployment")] = Field(
        (), description="Where the cell's traffic goes. Together with unservedShare they sum to 1."
    )
    unserved_share: Share = Field(
        0, description="Share (0-1) of the cell's requests that no replica can serve."
    )
    capacity_requests_per_second: Amount = Field(
        description="Rate that the planned replicas can carry within the SLO, per second."
    )


class PlanReason(Value):
    """Why a number in the plan is what it is."""

    code: ShortText = Field(description="One word that programs can rely on.")
    message: Sentence = Field(description="A sentence for people.")


class Alternative(Value):
    """A plan that was weighed and not taken."""

    description: Sentence = Field(description="What it would have been.")
    cost_usd_per_hour: Amount | None = Field(
        None, description="What it would have cost, in US dollars per hour."
    )
    reason: Sentence = Field(description="Why it was not taken.")


class SolverReport(Value):
    """How good the solution is, by the solver's own account."""

    status: ShortText = Field(description="Optimal, or how the search ended.")
    objective: float | None = Field(None, description="Value of the objective.")
    bound: float | None = Field(None, description="Best value that is still possible.")
    gap: float | None = Field(None, ge=0, description="Relative distance (0-1) between the two.")
    seconds: Amount | None = Field(None, description="Time spent, in seconds.")


class FleetPlanSpec(Value):
    """The decision. It never changes: a new decision is a new revision."""

    revision: int = Field(ge=1, description="Number of the decision; each is higher than the one before.")
    trigger: Sentence = Field(description="What made Argosy plan again.")
    cost_usd_per_hour: Amount = Field(description="Price of all planned replicas, in US dollars per hour.")
    deployments: Annotated[tuple[PlannedDeployment, ...], Field(max_length=512), KeyedBy("name")] = Field(
        (), description="How many replicas of what, and where."
    )
    cells: Annotated[tuple[PlannedCell, ...], Field(max_length=512), KeyedBy("name")] = Field(
        (), description="Which traffic goes where."
    )
    reasons: Annotated[tuple[PlanReason, ...], Field(max_length=64)] = Field(
        (), description="Why the plan is what it is, the weightiest first."
    )
    alternatives: Annotated[tuple[Alternative, ...], Field(max_length=64)] = Field(
        (), description="What was weighed and not taken."
    )
    solver: SolverReport = Field(description="How good the solution is, by the solver's own account.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="fleetplan-immutable",
            cel="self == oldSelf",
            message="spec never changes: a new decision is a new FleetPlan with a higher spec.revision",
            holds=None,  # the object as it was is known to the API server alone
        ),
    )


class DeploymentWeight(Value):
    """The weight by which one deployment gets a cell's traffic at present."""

    deployment: DeploymentKey = Field(description="Namespace and name of the Deployment, joined by a slash.")
    weight: Share = Field(description="Share (0-1) of the cell's traffic.")


class CellWeights(Value):
    """The weights of one route cell at present."""

    cell: CellName = Field(description="Name of the route cell.")
    weights: Annotated[tuple[DeploymentWeight, ...], Field(max_length=32), KeyedBy("deployment")] = Field(
        (), description="Weights by deployment."
    )


class FleetPlanStatus(Value):
    """The plan's life."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    phase: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="One word for the list of plans. The conditions are the truth."
    )
    conditions: Conditions = Field((), description="Certified, Applied and RolledBack.")
    weights: Annotated[tuple[CellWeights, ...], Field(max_length=512), KeyedBy("cell")] = Field(
        (),
        description="Weights corrected by the fast loop; a cell that is absent keeps the plan's shares.",
    )


class FleetPlan(Resource):
    """FleetPlan is one revision of what Argosy decided: how many replicas of what, where, and why."""

    KIND: ClassVar[str] = "FleetPlan"
    PLURAL: ClassVar[str] = "fleetplans"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("fplan",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Revision", "integer", ".spec.revision", "Number of the decision."),
        Column("Cost/h", "number", ".spec.costUsdPerHour", "US dollars per hour."),
        Column("Phase", "string", ".status.phase", "One word for the plan's life."),
        condition_column("Certified"),
        condition_column("Applied"),
        AGE,
        Column("Trigger", "string", ".spec.trigger", "What made Argosy plan again.", wide=True),
    )

    spec: FleetPlanSpec = Field(
        description="The decision. It never changes: a new decision is a new revision."
    )
    status: FleetPlanStatus = Field(FleetPlanStatus(), description="The plan's life. Written by Argosy.")
