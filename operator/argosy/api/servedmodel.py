"""ServedModel: a model that is served, and how its engine is started.

Owns the fields, bounds and rules of the kind. The catalogue (`perf`) has the known model ids.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from argosy.api.architecture import DeclaredArchitecture
from argosy.api.conditions import Conditions
from argosy.api.crd.resource import AGE, Column, CustomResource, Scope, condition_column
from argosy.api.engine.adapters import ADAPTER_RULES, MOST_ADAPTERS, Adapter, AdapterStatus
from argosy.api.engine.patch import patch_fault
from argosy.api.engine.pod import EnginePod
from argosy.api.engine.reserved import args_rules
from argosy.api.engine.vllm_flags import args_fault
from argosy.api.schema.rule import Rule
from argosy.api.schema.value import Amount, AsSet, Count, KeyedBy, ObjectName, ServedName, Value, refusal
from argosy.engine_version import LONGEST, PATTERN
from argosy.keys import ModelKey

DRAIN_SECONDS = 300
"""Default of `spec.engine.drainSeconds`: an answer of 13,000 tokens at 23 ms each, longer than one takes
within any SLO of the examples. A hung engine keeps its GPUs no longer than this once it is deleted."""


class Exchange(StrEnum):
    """What happens where a new replica has no room until the last one that serves has gone."""

    WAIT = "Wait"
    BRIEF_OUTAGE = "BriefOutage"


class ParallelShape(Value):
    """One way to split a replica over GPUs."""

    tensor_parallel: Literal[1, 2, 4, 8] = Field(
        description="GPUs that each layer of a replica is split over; all of them on one node."
    )
    pipeline_parallel: Literal[1, 2, 4, 8] = Field(
        1,
        description="Stages that the layers are split into, each on tensorParallel GPUs of the same node.",
    )


class Engine(EnginePod):
    """How the vLLM engine of one replica is started."""

    image: str = Field(
        "vllm/vllm-openai:v0.24.0", min_length=1, max_length=512, description="Container image of the engine."
    )
    version: str | None = Field(
        None,
        min_length=1,
        max_length=LONGEST,
        pattern=PATTERN,
        description=(
            "Version of vLLM in the image, such as 0.15.1: which host overhead plans assume and which flags"
            " args may hold. Absent: what the image's tag names, else the newest version known. Set it where"
            " the tag does not name it (a digest, latest, a tag of your own). A change restarts no engine."
        ),
    )
    port: int = Field(8000, ge=1, le=65535, description="TCP port that the engine serves on.")
    max_num_seqs: int = Field(
        256, ge=1, le=4096, description="Maximum number of requests in one engine step (--max-num-seqs)."
    )
    max_num_batched_tokens: int = Field(
        8192,
        ge=64,
        le=131072,
        description=(
            "Maximum number of tokens in one engine step (--max-num-batched-tokens); longer prompts are"
            " chunked."
        ),
    )
    max_model_len: int = Field(
        16384,
        ge=256,
        le=1048576,
        description="Maximum number of tokens of one request, prompt and output together (--max-model-len).",
    )
    gpu_memory_utilization: float = Field(
        0.9,
        ge=0.1,
        le=0.98,
        description="Share (0.1-0.98) of a GPU's memory that the engine may use (--gpu-memory-utilization).",
    )
    quantization: Literal["fp8"] | None = Field(
        None,
        description="Number type that the engine converts weights to at loading. Absent: the checkpoint's.",
    )
    kv_cache_dtype: Literal["fp8"] | None = Field(
        None, description="Number type of the KV cache. Absent: the checkpoint's."
    )
    max_loras: int = Field(
        0,
        ge=0,
        le=256,
        description="LoRA adapters that the engine holds in memory at once (--max-loras). 0: LoRA is off.",
    )
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(
        16,
        description=(
            "Maximum rank of a LoRA adapter; the engine reserves memory of this rank for each of maxLoras."
        ),
    )
    drain_seconds: int = Field(
        DRAIN_SECONDS,
        ge=10,
        le=21600,
        description=(
            "Seconds (10-21600) that a replica which is removed may take to finish its requests (the pod's"
            " terminationGracePeriodSeconds). Requests that still run then are cut, counted in"
            " argosy_streams_cut_total and reported by the event StreamsCut: set it above your longest"
            " answer. A change exchanges the replicas, because the pod template holds it."
        ),
    )
    args: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64)] = (
        Field((), description="Further arguments of vLLM. An argument that another field sets is refused.")
    )
    RULES: ClassVar[tuple[Rule, ...]] = (
        *EnginePod.RULES,
        *args_rules(),
        Rule(
            name="servedmodel-batched-tokens",
            # vLLM refuses to start otherwise: every running sequence needs at least one token per step.
            cel="self.maxNumBatchedTokens >= self.maxNumSeqs",
            message=(
                "spec.engine.maxNumBatchedTokens must be at least spec.engine.maxNumSeqs, because each"
                " running request needs one token per step"
            ),
            holds=lambda engine: engine.max_num_batched_tokens >= engine.max_num_seqs,
            field="maxNumBatchedTokens",
        ),
    )

    @model_validator(mode="after")
    def _args_are_vllms(self) -> Self:
        """Only here, as CEL cannot hold the table: the API server takes what is refused by it."""
        if (fault := args_fault(self.args, self.image, self.version)) is not None:
            raise refusal(fault, "args")
        return self

    @model_validator(mode="after")
    def _patch_keeps_the_engine(self) -> Self:
        """Only here, as CEL sees no fields that are in no schema."""
        if (fault := patch_fault(self.pod_template_patch, self.port)) is not None:
            raise refusal(fault, "podTemplatePatch")
        return self


class ProfileReference(Value):
    """A profile from the user's measurements, as `argosy perf import` writes it."""

    config_map: ObjectName = Field(
        description="Name of a ConfigMap in this object's namespace that holds the profile."
    )
    key: str = Field(
        "profile.json",
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key in the ConfigMap's data that holds the profile.",
    )


MOST_SERVED_NAMES = 8
"""Below the bound of the list's schema: its refusal could not name spec.adapters."""


class ServedModelSpec(Value):
    """Which model is served, and how its engine is started."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="servedmodel-served-names-many",
            cel=f"size(self.servedNames) <= {MOST_SERVED_NAMES}",
            message=(
                f"spec.servedNames must have at most {MOST_SERVED_NAMES} names, which are names of the model"
                " itself; names of LoRA adapters belong in spec.adapters, which takes 128, each with its"
                " source, and restarts no engine"
            ),
            holds=lambda spec: len(spec.served_names) <= MOST_SERVED_NAMES,
            field="servedNames",
        ),
        *ADAPTER_RULES,
    )

    model_id: str = Field(
        min_length=1,
        max_length=256,
        description="Id of the model on Hugging Face, such as meta-llama/Llama-3.1-8B-Instruct.",
    )
    served_names: Annotated[tuple[ServedName, ...], Field(max_length=128), AsSet()] = Field(
        (),
        description=(
            "Values of a request's model field that this model itself answers to, at most 8. Empty: the name"
            " of this object. Names of LoRA adapters belong in spec.adapters."
        ),
    )
    parallel_shapes: Annotated[
        tuple[ParallelShape, ...],
        Field(min_length=1, max_length=8),
        KeyedBy("tensorParallel", "pipelineParallel"),
    ] = Field(
        (ParallelShape(tensor_parallel=1, pipeline_parallel=1),),
        description="Allowed ways to split a replica over GPUs; the planner chooses among them.",
    )
    architecture: DeclaredArchitecture | None = Field(
        None,
        description="Dimensions of a model that is not in the catalogue. Absent: those in the catalogue.",
    )
    profiles: Annotated[tuple[ProfileReference, ...], Field(max_length=16), KeyedBy("configMap", "key")] = (
        Field(
            (),
            description="Profiles from your own measurements (argosy perf import). They override Argosy's.",
        )
    )
    engine: Engine = Field(Engine(), description="How the vLLM engine of one replica is started.")
    adapters: Annotated[tuple[Adapter, ...], Field(max_length=MOST_ADAPTERS), KeyedBy("name")] = Field(
        (),
        description=(
            "LoRA adapters that requests may name. Engines load and unload them while they run, at most"
            " spec.engine.maxLoras each; a change of this list restarts no engine."
        ),
    )
    max_replicas: int = Field(
        64, ge=1, le=1000, description="Maximum number of replicas of this model over all pools."
    )
    exchange: Exchange = Field(
        Exchange.WAIT,
        description=(
            "What happens where an edit calls for a new replica that has no room before the last replica"
            " which serves has gone. Wait: it stays, and Ready reports it until there is room. BriefOutage:"
            " it finishes its requests and goes, and requests are refused (503 with Retry-After) until the"
            " new one has loaded."
        ),
    )


class CalibrationStatus(Value):
    """Measured step times of running engines, relative to the profile."""

    step_time_factor: Amount = Field(
        description=(
            "Measured step time divided by the profile's, at the last observed load: 1.3 is 30 % slower."
        ),
    )
    prefill_factor: Amount | None = Field(
        None,
        description=(
            "Measured time per token of a prompt divided by the profile's. Absent: the engines' load has not"
            " told prefill from decoding."
        ),
    )
    uncertainty: Amount = Field(
        description="Relative standard error of a step time corrected by this factor (0.05: 5 %)."
    )
    windows: Count = Field(
        description="Number of windows used (of 15 s or more), rounded down to one significant digit."
    )
    drifted: bool = Field(description="True if step times changed abruptly within the last hour.")


class VariantStatus(Value):
    """Replicas of one variant of the model."""

    name: ObjectName = Field(
        description="Name of the variant: model, pool, parallel shape and engine settings."
    )
    pool: ObjectName = Field(description="GPUPool that the variant runs in.")
    desired: Count = Field(description="Replicas in the applied plan.")
    ready: Count = Field(description="Ready replicas.")
    calibration: CalibrationStatus | None = Field(
        None,
        description=(
            "Measured step times of its engines. Absent: not known yet, or spec.recalibration is Disabled."
        ),
    )


class ServedModelStatus(Value):
    """The observed state of the model."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field(
        (), description="Conditions Accepted, ResolvedRefs, Programmed and Ready of the model, and Adopted."
    )
    replicas_ready: Count | None = Field(None, description="Ready replicas of all variants.")
    replicas_desired: Count | None = Field(None, description="Replicas of all variants in the applied plan.")
    replicas_adopted: Count | None = Field(
        None,
        description=(
            "Those of the ready replicas that are in Deployments which users run and labelled"
            " argosy.dev/adopt. Absent: there is no such Deployment."
        ),
    )
    cost_usd_per_hour: Amount | None = Field(
        None, description="Price of the GPUs that its engine pods hold, in US dollars per hour."
    )
    variants: Annotated[tuple[VariantStatus, ...], Field(max_length=256), KeyedBy("name")] = Field(
        (), description="Replicas by variant."
    )
    adapters: Annotated[tuple[AdapterStatus, ...], Field(max_length=MOST_ADAPTERS), KeyedBy("name")] = Field(
        (), description="Where each of spec.adapters is loaded."
    )


class ServedModel(CustomResource):
    """ServedModel is a model that is served, with its allowed parallel shapes and its engine's settings."""

    KIND: ClassVar[str] = "ServedModel"
    PLURAL: ClassVar[str] = "servedmodels"
    SCOPE: ClassVar[Scope] = Scope.NAMESPACED
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("smodel",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Model", "string", ".spec.modelId", "The model's id."),
        Column("Replicas", "integer", ".status.replicasReady", "Ready replicas."),
        Column("Desired", "integer", ".status.replicasDesired", "Replicas in the applied plan."),
        Column("$/h", "number", ".status.costUsdPerHour", "US dollars per hour for its replicas."),
        condition_column("Ready"),
        condition_column("Ready", field="reason"),
        AGE,
        condition_column("Ready", field="message", wide=True),
    )

    spec: ServedModelSpec = Field(description="Which model is served, and how its engine is started.")
    status: ServedModelStatus = Field(
        ServedModelStatus(), description="The observed state of the model. Written by Argosy."
    )

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names that requests may use: those in the spec, or else the name of the object."""
        return self.spec.served_names or (self.metadata.name,)

    @property
    def answered_names(self) -> tuple[str, ...]:
        """`served_names`, and those of its adapters."""
        return (*self.served_names, *(adapter.name for adapter in self.spec.adapters))

    @property
    def key(self) -> ModelKey:
        """`namespace/name`."""
        return ModelKey(self.metadata.key)
