"""FleetPlan: one revision of the decision, with its reasons.

Owns the fields and bounds of the kind. `spec` is the decision and never changes; `status` is what
became of it. Argosy writes it; xDS snapshots are built from it. The bounds keep a plan within what
etcd accepts; the writer summarises what would not fit.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.crd.resource import AGE, Column, CustomResource, Scope, condition_column
from argosy.api.fleet import FleetSpec
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import (
    Amount,
    Count,
    KeyedBy,
    ObjectName,
    Sentence,
    Share,
    ShortText,
    Value,
)
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName, ModelKey


class NodeReplicas(Value):
    """Replicas of one deployment on one node."""

    node: ObjectName = Field(description="Name of the node.")
    replicas: int = Field(ge=1, description="Replicas planned for this node.")


class PlannedDeployment(Value):
    """One variant in one sharing group: how many replicas, and where."""

    name: DeploymentKey = Field(description="Namespace and name of the Deployment, joined by a slash.")
    namespace: ObjectName = Field(description="Namespace of the Deployment.")
    deployment: ObjectName = Field(description="Name of the Deployment.")
    model: ObjectName = Field(description="Name of the ServedModel.")
    variant: ObjectName = Field(
        description="Name of the variant: model, pool, parallel shape and engine settings."
    )
    pool: ObjectName = Field(description="GPUPool that the variant runs in.")
    sharing_group: GroupName = Field(
        description="Sharing group that it serves: the WorkloadClasses that share its replicas."
    )
    tensor_parallel: int = Field(ge=1, description="GPUs that each layer of a replica is split over.")
    pipeline_parallel: int = Field(1, ge=1, description="Stages that the layers are split into.")
    gpus_per_replica: int = Field(ge=1, description="GPUs per replica.")
    replicas: Count = Field(description="Replicas in total.")
    kept_replicas: Count = Field(
        0,
        description=(
            "Further replicas that run and are kept, though the plan needs none of them: nothing can be"
            " planned for a WorkloadClass that they serve (its SLO is out of reach, say). They are part of"
            " spec.costUsdPerHour and not of replicas."
        ),
    )
    is_adopted: bool = Field(
        False,
        description=(
            "True for a Deployment that a user runs and labelled argosy.dev/adopt. Argosy lowers the number"
            " of its replicas where the plan needs fewer, and changes nothing else of it."
        ),
    )
    request_limit: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description=(
            "Requests in flight to the Deployment at which each Envoy refuses further ones with 429. Absent:"
            " no limit, because no SLO says how long a request may wait."
        ),
    )
    restarted_at: ShortText = Field(
        "",
        description=(
            "When a restart of its replicas was last ordered (kubectl rollout restart), as kubectl writes it."
        ),
    )
    nodes: Annotated[tuple[NodeReplicas, ...], Field(max_length=256), KeyedBy("node")] = Field(
        (),
        description=(
            "Replicas by node, as far as there was room when the plan was made; further ones start where"
            " replicas of the former plan make room. Empty where the pool has placement Scheduler."
        ),
    )

    @property
    def places(self) -> Counter[str]:
        """Its replicas by node."""
        return Counter({each.node: each.replicas for each in self.nodes})

    @property
    def model_key(self) -> ModelKey:
        """Key of its ServedModel, which is in the Deployment's namespace."""
        return ModelKey.of(self.namespace, self.model)


class CellShare(Value):
    """The share of a route cell's requests that goes to one Deployment."""

    deployment: DeploymentKey = Field(description="Namespace and name of the Deployment, joined by a slash.")
    share: Share = Field(description="Share (0-1) of the cell's requests.")


class PlannedCell(Value):
    """One route cell: its rate, and the shares of the Deployments that serve it."""

    name: CellName = Field(description="Name of the route cell.")
    workload_class: ClassKey = Field(
        description="Namespace and name of its WorkloadClass, joined by a slash."
    )
    sharing_group: GroupName = Field(description="Sharing group whose replicas serve it.")
    requests_per_second: Amount = Field(description="Planned rate, in requests per second.")
    shares: Annotated[tuple[CellShare, ...], Field(max_length=32), KeyedBy("deployment")] = Field(
        (),
        description=(
            "Shares of the Deployments that serve the cell. Together with keptShare and unservedShare they"
            " sum to 1."
        ),
    )
    kept_share: Share = Field(
        0,
        description=(
            "Share (0-1) of the cell's requests that only kept replicas serve: without the promise of an SLO,"
            " because nothing can be planned for the WorkloadClass."
        ),
    )
    unserved_share: Share = Field(0, description="Share (0-1) of the cell's requests that nothing serves.")
    capacity_requests_per_second: Amount = Field(
        description="Rate that the planned replicas can serve within the SLO, in requests per second."
    )


class PlanReason(Value):
    """Reason for a number in the plan."""

    code: ShortText = Field(description="Reason in one word, for programs.")
    message: Sentence = Field(description="Reason in a sentence, for people.")


class Alternative(Value):
    """A plan that was considered and rejected."""

    description: Sentence = Field(description="What the plan would have been.")
    cost_usd_per_hour: Amount | None = Field(
        None, description="Cost that it would have had, in US dollars per hour."
    )
    reason: Sentence = Field(description="Why it was rejected.")


class PlannedNodes(Value):
    """Nodes of a pool that the plan uses and that do not exist yet."""

    pool: ObjectName = Field(description="Name of the GPUPool.")
    nodes: Count = Field(description="Nodes that an autoscaler has to bring.")


class SolverReport(Value):
    """How good the solution is, as the solver reports it."""

    status: ShortText = Field(description="Optimal, or why the solver stopped.")
    objective: float | None = Field(None, description="Objective value of the solution (the incumbent).")
    bound: float | None = Field(None, description="Proven bound of the objective.")
    gap: float | None = Field(None, ge=0, description="Relative gap (0-1) between objective and bound.")
    seconds: Amount | None = Field(None, description="Time spent, in seconds.")


class FleetPlanSpec(Value):
    """The decision. It never changes: a new decision is a new revision."""

    revision: int = Field(ge=1, description="Number of the decision; each one is higher than the one before.")
    trigger: Sentence = Field(description="What caused the new plan.")
    edits_digest: ShortText = Field(
        "",
        description=(
            "Digest of what the users' specs said besides prices, declared rates and SLOs: where it differs"
            " from the present one, a user has edited something else since, and a new plan does not wait."
        ),
    )
    restores: int | None = Field(
        None,
        ge=1,
        description=(
            "Revision whose replicas and shares the plan has, because a user went back to it (annotation"
            " argosy.dev/rollback of the Fleet). Absent: it was planned."
        ),
    )
    cost_usd_per_hour: Amount = Field(
        description="Cost of all planned and kept replicas, in US dollars per hour."
    )
    deployments: Annotated[tuple[PlannedDeployment, ...], Field(max_length=512), KeyedBy("name")] = Field(
        (), description="Replicas of each variant, and their nodes."
    )
    nodes_to_come: Annotated[tuple[PlannedNodes, ...], Field(max_length=256), KeyedBy("pool")] = Field(
        (), description="Nodes that did not exist when the plan was made and that its replicas wait for."
    )
    cells: Annotated[tuple[PlannedCell, ...], Field(max_length=512), KeyedBy("name")] = Field(
        (), description="Rate of each route cell, and the Deployments that serve it."
    )
    reasons: Annotated[tuple[PlanReason, ...], Field(max_length=64)] = Field(
        (), description="Reasons for the plan, the most important first."
    )
    alternatives: Annotated[tuple[Alternative, ...], Field(max_length=64)] = Field(
        (), description="Plans that were considered and rejected."
    )
    solver: SolverReport = Field(description="How good the solution is, as the solver reports it.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="fleetplan-immutable",
            cel="self == oldSelf",
            message="spec must not change; a new decision is a new FleetPlan with a higher spec.revision",
            holds=None,  # only the API server has the old object
        ),
    )


class DeploymentWeight(Value):
    """The current weight of one Deployment in a route cell."""

    deployment: DeploymentKey = Field(description="Namespace and name of the Deployment, joined by a slash.")
    weight: Share = Field(description="Current share (0-1) of the cell's requests.")


class PublishedWeights(Value):
    """The current weights of one route cell."""

    cell: CellName = Field(description="Name of the route cell.")
    weights: Annotated[tuple[DeploymentWeight, ...], Field(max_length=32), KeyedBy("deployment")] = Field(
        (), description="Weights by deployment."
    )


MAX_REMOVALS = 128
"""Deleted objects that a plan keeps."""


class Removal(Value):
    """An object that a user deleted while replicas ran for it."""

    kind: ShortText = Field(description="Kind of the object, such as ServedModel.")
    key: ObjectName = Field(description="Namespace and name of the object, joined by a slash.")
    removed_after: str = Field(
        max_length=64,
        description="When its grace ends and its replicas begin to drain (RFC 3339).",
        json_schema_extra={"format": "date-time"},
    )


class PlanPhase(StrEnum):
    """The values of `status.phase` that Argosy writes."""

    APPLIED = "Applied"
    RECOMMENDED = "Recommended"
    SUPERSEDED = "Superseded"


class FleetPlanStatus(Value):
    """What became of the plan."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    phase: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="State of the plan in one word, for kubectl get. The conditions are authoritative."
    )
    conditions: Conditions = Field(
        (),
        description=(
            "Conditions Certified, Applied, Progressing, RolledOut, FleetFound and Draining of the plan."
        ),
    )
    removals: Annotated[tuple[Removal, ...], Field(max_length=MAX_REMOVALS), KeyedBy("kind", "key")] = Field(
        (), description="Deleted objects that replicas still run for, the first 128 by kind and name."
    )
    fleet: FleetSpec | None = Field(
        None,
        description=(
            "The spec of Fleet/default as it was last seen. It holds while there is no Fleet object. Absent:"
            " there never was one."
        ),
    )
    weights: Annotated[tuple[PublishedWeights, ...], Field(max_length=512), KeyedBy("cell")] = Field(
        (),
        description=(
            "Weights as the traffic loop corrected them; a cell that is not listed keeps the plan's shares."
        ),
    )


class FleetPlan(CustomResource):
    """FleetPlan is one revision of Argosy's decision: replicas per variant, their nodes, and the reasons."""

    KIND: ClassVar[str] = "FleetPlan"
    PLURAL: ClassVar[str] = "fleetplans"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("fplan",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Revision", "integer", ".spec.revision", "Number of the decision."),
        Column("$/h", "number", ".spec.costUsdPerHour", "US dollars per hour."),
        Column("Phase", "string", ".status.phase", "State of the plan in one word."),
        condition_column("Applied"),
        Column(
            "Progress",
            "string",
            '.status.conditions[?(@.type=="Progressing")].reason',
            "How far the plan is carried out: the reason of the condition Progressing.",
        ),
        condition_column("Draining"),
        AGE,
        # No simulator is built in that could certify a plan: the column would never be True.
        condition_column("Certified", wide=True),
        Column("Trigger", "string", ".spec.trigger", "What caused the new plan.", wide=True),
        condition_column("Draining", field="message", wide=True),
    )

    spec: FleetPlanSpec = Field(
        description="The decision. It never changes: a new decision is a new revision."
    )
    status: FleetPlanStatus = Field(
        FleetPlanStatus(), description="What became of the plan. Written by Argosy."
    )
