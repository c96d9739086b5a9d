"""ServedModel: what is served, and how its engine is started.

Owns the fields, bounds and rules of the kind. Which model ids are known is the catalogue's
business (`perf`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from argosy.api.architecture import Architecture
from argosy.api.conditions import Conditions
from argosy.api.engine_flags import RESERVED_FLAGS, flag_of
from argosy.api.resource import AGE, Column, Resource, Scope, condition_column
from argosy.api.rule import Rule
from argosy.api.value import Amount, AsSet, Count, KeyedBy, ObjectName, ServedName, Value
from argosy.keys import ModelKey


class ParallelShape(Value):
    """One way to spread a replica over GPUs."""

    tensor_parallel: Literal[1, 2, 4, 8] = Field(
        description="GPUs that share each layer of one replica; all of them in one node."
    )
    pipeline_parallel: Literal[1, 2, 4, 8] = Field(
        1,
        description="Stages that the layers are spread over, each on tensorParallel GPUs of the same node.",
    )


class EnvVar(Value):
    """An environment variable of the engine."""

    name: str = Field(
        min_length=1,
        max_length=256,
        pattern=r"^[-._A-Za-z][-._A-Za-z0-9]*$",
        description="Name of the variable.",
    )
    value: str = Field("", max_length=4096, description="Its value, taken literally.")


class Engine(Value):
    """How the vLLM engine of one replica is started."""

    image: str = Field(
        "vllm/vllm-openai:v0.24.0", min_length=1, max_length=512, description="Container image of the engine."
    )
    port: int = Field(8000, ge=1, le=65535, description="TCP port that the engine serves on.")
    max_num_seqs: int = Field(
        256, ge=1, le=4096, description="Requests that the engine runs at once, at most."
    )
    max_num_batched_tokens: int = Field(
        8192,
        ge=64,
        le=131072,
        description="Tokens of one engine step, at most; long prompts are cut into such chunks.",
    )
    max_model_len: int = Field(
        16384, ge=256, le=1048576, description="Tokens of one request, prompt and output together, at most."
    )
    gpu_memory_utilization: float = Field(
        0.9, ge=0.1, le=0.98, description="Share (0.1-0.98) of the GPU's memory that the engine may use."
    )
    quantization: Literal["fp8"] | None = Field(
        None,
        description="Quantize the weights when they are loaded. Absent: as the checkpoint has them.",
    )
    kv_cache_dtype: Literal["fp8"] | None = Field(
        None, description="Number type of the KV cache. Absent: as the checkpoint has it."
    )
    max_loras: int = Field(
        0, ge=0, le=256, description="LoRA adapters that the engine holds at once. 0: LoRA is off."
    )
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(
        16, description="Rank of a LoRA adapter, at most; each of maxLoras takes memory for it."
    )
    args: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=64)] = (
        Field((), description="Further arguments of the engine. What another field sets cannot be set here.")
    )
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), KeyedBy("name")] = Field(
        (), description="Environment variables of the engine."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            name="servedmodel-reserved-args",
            # Per argument: the flag as vLLM reads it (`=value` cut off, `_` for `-`) is not reserved.
            cel=(
                "self.args.all(arg, !(arg.split('=')[0].replace('_', '-') in ["
                + ", ".join(f"'{flag}'" for flag in RESERVED_FLAGS)
                + "]))"
            ),
            message=(
                "spec.engine.args must not set what a field sets; use spec.modelId, spec.servedNames,"
                " spec.parallelShapes and the fields of spec.engine instead"
            ),
            holds=lambda engine: not any(flag_of(arg) in RESERVED_FLAGS for arg in engine.args),
            field="args",
        ),
        Rule(
            name="servedmodel-batched-tokens",
            # vLLM refuses to start otherwise: every running sequence needs at least a token per step.
            cel="self.maxNumBatchedTokens >= self.maxNumSeqs",
            message=(
                "spec.engine.maxNumBatchedTokens must be at least spec.engine.maxNumSeqs: each running"
                " request needs a token per step"
            ),
            holds=lambda engine: engine.max_num_batched_tokens >= engine.max_num_seqs,
            field="maxNumBatchedTokens",
        ),
    )


class ProfileReference(Value):
    """A profile that the user measured, as `argosy perf import` writes it."""

    config_map: ObjectName = Field(
        description="Name of a ConfigMap in this object's namespace that holds the profile."
    )
    key: str = Field(
        "profile.json",
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key of the ConfigMap's data under which the profile stands.",
    )


class ServedModelSpec(Value):
    """What is served, and how its engine is started."""

    model_id: str = Field(
        min_length=1,
        max_length=256,
        description="The model by its id on Hugging Face, such as meta-llama/Llama-3.1-8B-Instruct.",
    )
    served_names: Annotated[tuple[ServedName, ...], Field(max_length=8), AsSet()] = Field(
        (), description="Names that requests may use in their model field. Empty: the name of this object."
    )
    parallel_shapes: Annotated[
        tuple[ParallelShape, ...],
        Field(min_length=1, max_length=8),
        KeyedBy("tensorParallel", "pipelineParallel"),
    ] = Field(
        (ParallelShape(tensor_parallel=1, pipeline_parallel=1),),
        description="Ways in which a replica may be spread over GPUs; the planner chooses among them.",
    )
    architecture: Architecture | None = Field(
        None,
        description="Dimensions of a model that the catalogue does not know. Absent: the catalogue's.",
    )
    profiles: Annotated[tuple[ProfileReference, ...], Field(max_length=16), KeyedBy("configMap", "key")] = (
        Field(
            (),
            description="Profiles from your own measurements (argosy perf import). They win over Argosy's.",
        )
    )
    engine: Engine = Field(Engine(), description="How the vLLM engine of one replica is started.")
    max_replicas: int = Field(
        64, ge=1, le=1000, description="Replicas of this model over all pools, at most."
    )


class CalibrationStatus(Value):
    """How long the steps of running engines take, against the profile that plans start from."""

    step_time_factor: Amount = Field(
        description="A step as it is, over the profile's, at the load last seen: 1.3 is 30 % slower."
    )
    uncertainty: Amount = Field(
        description="Relative standard error of a step time so corrected (0.05: 5 %)."
    )
    windows: Count = Field(
        description="Windows of 15 s that were learnt from, rounded down to one digit and zeros."
    )
    drifted: bool = Field(
        description="Whether steps became slower or faster all at once within the last hour."
    )


class VariantStatus(Value):
    """Replicas of one variant of the model."""

    name: ObjectName = Field(
        description="Name of the variant: model, pool, parallel shape and engine settings."
    )
    pool: ObjectName = Field(description="GPUPool that it runs in.")
    desired: Count = Field(description="Replicas that the applied plan wants.")
    ready: Count = Field(description="Replicas that are ready.")
    calibration: CalibrationStatus | None = Field(
        None,
        description="What its engines were seen to need. Absent: not known yet, or switched off.",
    )


class ServedModelStatus(Value):
    """The model as last seen."""

    observed_generation: Count | None = Field(
        None, description="The metadata.generation that this status is about."
    )
    conditions: Conditions = Field(
        (), description="Accepted, ResolvedRefs, Programmed and Ready of the model."
    )
    replicas_ready: Count | None = Field(None, description="Replicas that are ready, over all variants.")
    replicas_desired: Count | None = Field(
        None, description="Replicas that the applied plan wants, over all variants."
    )
    variants: Annotated[tuple[VariantStatus, ...], Field(max_length=256), KeyedBy("name")] = Field(
        (), description="Replicas by variant."
    )


class ServedModel(Resource):
    """ServedModel is a model that is served, with the shapes it may take and the settings of its engine."""

    KIND: ClassVar[str] = "ServedModel"
    PLURAL: ClassVar[str] = "servedmodels"
    SCOPE: ClassVar[Scope] = Scope.NAMESPACED
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("smodel",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Model", "string", ".spec.modelId", "The model's id."),
        Column("Replicas", "integer", ".status.replicasReady", "Replicas that are ready."),
        Column("Desired", "integer", ".status.replicasDesired", "Replicas that the applied plan wants."),
        condition_column("Ready"),
        AGE,
        condition_column("Ready", field="message", wide=True),
    )

    spec: ServedModelSpec = Field(description="What is served, and how its engine is started.")
    status: ServedModelStatus = Field(
        ServedModelStatus(), description="The model as last seen. Written by Argosy."
    )

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names that requests may use: those of the spec, else the object's own."""
        return self.spec.served_names or (self.metadata.name,)

    @property
    def key(self) -> ModelKey:
        """`namespace/name`."""
        return ModelKey(self.metadata.key)
