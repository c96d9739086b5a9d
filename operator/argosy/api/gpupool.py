"""GPUPool: nodes with one type of GPU and one price.

Owns the fields, bounds and rules of the kind. The catalogue (`perf`) knows which GPUs exist, not
the schema: a new GPU needs no new CRD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from argosy.api.conditions import Conditions
from argosy.api.crd.resource import AGE, Column, CustomResource, Scope, condition_column
from argosy.api.gpuspec import GpuSharing, GpuSpec, Interconnect
from argosy.api.schema.pod_labels import PodLabels, pod_labels_rule
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import LABEL_NAME, Amount, Count, KeyedBy, LabelValue, Value


class PlacementMode(StrEnum):
    """Which component chooses the node of a replica."""

    ARGOSY = "Argosy"
    SCHEDULER = "Scheduler"


class TolerationOperator(StrEnum):
    """How a toleration is compared with a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """The effect of a taint on pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Value):
    """A toleration of the replicas for a taint of the pool's nodes."""

    key: str = Field(min_length=1, max_length=317, pattern=LABEL_NAME, description="The taint's key.")
    operator: TolerationOperator = Field(
        TolerationOperator.EQUAL,
        description="Equal: the taint's value must be the same. Exists: any value is tolerated.",
    )
    value: LabelValue | None = Field(None, description="The taint's value; only with operator Equal.")
    effect: TaintEffect | None = Field(None, description="The taint's effect. Absent: every effect.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="gpupool-toleration-value",
            cel="!has(self.value) || self.operator == 'Equal'",
            message=(
                "spec.tolerations: value is allowed with operator Equal only; remove value or set operator"
                " to Equal"
            ),
            holds=lambda t: t.value is None or t.operator is TolerationOperator.EQUAL,
            field="value",
        ),
    )


class NodeBounds(Value):
    """How many nodes an autoscaler keeps in the pool."""

    min: int = Field(
        0,
        ge=0,
        le=1000,
        description="Nodes that are kept and paid for, whether replicas use them or not.",
    )
    max: int = Field(ge=1, le=1000, description="Nodes that there may be, those that exist included.")

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="gpupool-nodes-min-max",
            cel="!has(self.min) || self.min <= self.max",
            message="spec.nodes: min must be at most max; lower min or raise max",
            holds=lambda nodes: nodes.min <= nodes.max,
            field="min",
        ),
    )


class GPUPoolSpec(Value):
    """Which nodes belong to the pool, and what their GPUs cost."""

    gpu: str = Field(
        min_length=1,
        max_length=63,
        description=(
            "Name of the GPU in the catalogue, such as L40S or H100; of a MIG slice with its profile, such as"
            " H100-MIG-3g.40gb; of a GPU that spec.gpuSpec declares, a name of its own."
        ),
    )
    gpu_spec: GpuSpec | None = Field(
        None,
        description=(
            "Figures of a GPU that the catalogue does not have; spec.gpu names it. Step times that are"
            " computed from them are less certain than those of a GPU with tables."
        ),
    )
    interconnect: Interconnect | None = Field(
        None,
        description=(
            "What connects the GPUs of a node, which decides what tensor parallelism costs. Absent: as the"
            " catalogue has it for the GPU; no node label shows it."
        ),
    )
    sharing: GpuSharing | None = Field(
        None,
        description=(
            "How containers share a GPU. Absent: each has its GPU, or its MIG slice, alone. Where it is set,"
            " spec.gpusPerNode and the price count shares."
        ),
    )
    node_selector: Annotated[Mapping[str, LabelValue], Field(min_length=1, max_length=16)] = Field(
        description="Labels that a node must have to belong to the pool. A node must not belong to two pools."
    )
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = Field(
        (), description="Taints of the pool's nodes that replicas tolerate."
    )
    pod_labels: PodLabels = Field(
        {},
        description=(
            "Labels of the pods of all replicas in the pool, such as kueue.x-k8s.io/queue-name. A change"
            " exchanges the replicas. A label of the same name in a ServedModel is used instead."
        ),
    )
    gpus_per_node: int = Field(
        ge=1, le=64, description="GPUs (slices, shares) per node. All GPUs of a replica are on one node."
    )
    resource_name: str = Field(
        "nvidia.com/gpu",
        min_length=1,
        max_length=317,
        pattern=LABEL_NAME,
        description="Name of the extended resource that counts the GPUs in Kubernetes.",
    )
    price_usd_per_hour: float = Field(
        ge=0, description="Price of one GPU (slice, share) in US dollars per hour."
    )
    placement: PlacementMode = Field(
        PlacementMode.ARGOSY,
        description=(
            "Which component chooses a replica's node. Argosy: a scheduling gate holds each pod until Argosy"
            " has chosen its node. Scheduler: there is no gate, so that pods are also replaced while the"
            " operator is down."
        ),
    )

    nodes: NodeBounds | None = Field(
        None,
        description=(
            "For pools whose nodes an autoscaler (Karpenter, cluster-autoscaler) brings for pods that find no"
            " room: the planner uses nodes that do not exist yet, up to max. Absent: only nodes that exist."
        ),
    )
    provisioning_seconds: int | None = Field(
        None,
        ge=1,
        le=7200,
        description=(
            "Seconds from a pod that finds no room until its new node is Ready, used until some were observed"
            " (status.provisioningSeconds). Absent: 300. Only with nodes."
        ),
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="gpupool-provisioning-nodes",
            cel="!has(self.provisioningSeconds) || has(self.nodes)",
            message="spec.provisioningSeconds is used with spec.nodes only; set spec.nodes.max or remove it",
            holds=lambda spec: spec.provisioning_seconds is None or spec.nodes is not None,
            field="provisioningSeconds",
        ),
        Rule(
            name="gpupool-interconnect-gpus",
            cel=(
                "!has(self.interconnect) || !has(self.interconnect.allReduce) ||"
                " self.interconnect.allReduce.all(each, each.gpus <= self.gpusPerNode)"
            ),
            message=(
                "spec.interconnect.allReduce: gpus must be at most spec.gpusPerNode; remove larger ones, or"
                " raise gpusPerNode"
            ),
            holds=lambda spec: (
                spec.interconnect is None
                or all(each.gpus <= spec.gpus_per_node for each in spec.interconnect.all_reduce)
            ),
            field="interconnect",
        ),
        Rule(
            name="gpupool-node-selector-key",
            # A schema can bound a map's values only: a bad key would first be refused in the pods.
            cel=f"self.nodeSelector.all(key, key.matches('{LABEL_NAME}'))",
            message="spec.nodeSelector: keys must be names of labels, such as nvidia.com/gpu.product",
            holds=lambda spec: all(re.fullmatch(LABEL_NAME, key) for key in spec.node_selector),
            field="nodeSelector",
        ),
        pod_labels_rule("gpupool", "spec.podLabels"),
    )


MAX_REASON = 512
"""Characters of a leaving node's reason."""


class LeavingNode(Value):
    """A node that replicas of the pool leave."""

    name: str = Field(min_length=1, max_length=253, description="The node's name.")
    reason: str = Field(
        max_length=MAX_REASON,
        description="What announced its removal, and how; or which label the pool does not select.",
    )
    replicas: Count = Field(0, description="Replicas on it that serve until their successors do.")


MAX_LEAVING = 64
"""Leaving nodes that a status lists."""


class GPUPoolStatus(Value):
    """The observed state of the pool."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field((), description="Conditions Accepted and Ready of the pool.")
    nodes: Count | None = Field(None, description="Nodes that belong to the pool.")
    gpus_total: Count | None = Field(None, description="GPUs of those nodes.")
    gpus_free: Count | None = Field(None, description="GPUs on usable nodes that no pod holds.")
    gpus_unhealthy: Count | None = Field(
        None,
        description=(
            "GPUs that cannot be used: their node is silent or not ready, or its device plugin reports them"
            " as unhealthy (status.capacity of the Node less status.allocatable)."
        ),
    )
    nodes_to_come: Count | None = Field(
        None, description="Nodes that do not exist yet and that the present plan uses (spec.nodes)."
    )
    provisioning_seconds: Amount | None = Field(
        None,
        description=(
            "Seconds from a replica that found no room until its new node took it, as observed: a mean in"
            " which the latest weigh most."
        ),
    )
    leaving: Annotated[tuple[LeavingNode, ...], Field(max_length=MAX_LEAVING), KeyedBy("name")] = Field(
        (),
        description=(
            "Nodes that the pool's replicas leave: cordoned, tainted by what takes them away, or selected by"
            " spec.nodeSelector no longer."
        ),
    )
    cost_usd_per_hour: Amount | None = Field(
        None, description="Price of the GPUs that engine pods hold, in US dollars per hour."
    )


class GPUPool(CustomResource):
    """GPUPool is a set of nodes with one type of GPU and one price per GPU."""

    KIND: ClassVar[str] = "GPUPool"
    PLURAL: ClassVar[str] = "gpupools"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("gpool",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("GPU", "string", ".spec.gpu", "Type of the GPUs."),
        Column("Nodes", "integer", ".status.nodes", "Nodes of the pool."),
        Column("GPUs", "integer", ".status.gpusTotal", "GPUs of the pool."),
        Column("Free", "integer", ".status.gpusFree", "GPUs that no pod holds."),
        Column("$/GPU-h", "number", ".spec.priceUsdPerHour", "US dollars per GPU per hour."),
        Column("$/h", "number", ".status.costUsdPerHour", "US dollars per hour for the GPUs in use."),
        condition_column("Ready"),
        condition_column("Ready", field="reason"),
        AGE,
        condition_column("Ready", field="message", wide=True),
    )

    spec: GPUPoolSpec = Field(description="Which nodes belong to the pool, and what their GPUs cost.")
    status: GPUPoolStatus = Field(
        GPUPoolStatus(), description="The observed state of the pool. Written by Argosy."
    )
