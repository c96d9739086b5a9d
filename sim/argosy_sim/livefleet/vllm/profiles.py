"""Owns the way from a container's arguments and its node's GPU to the engine that would run.

Input: `VllmArgs` and a GPU. Output: limits and step times from `argosy.perf`, or the sentence that the
container's log shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from argosy.keys import ModelKey
from argosy.perf.footprint.memory import engine_limits, load_delay_s
from argosy.perf.host import host_of
from argosy.perf.protocol import Fits, OutOfRange, OutOfRangeReason, PerfModel, TooLargeReason
from argosy.refusals import Refused
from argosy.snapshot import Dtype, EngineSettings, Variant
from argosy_sim.livefleet.vllm.adapters import LoraLimits
from argosy_sim.livefleet.vllm.args import VllmArgs
from argosy_sim.livefleet.vllm.server import EngineProfile


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the container was given: the node's nvidia.com/gpu.product and the GPUs it asked for."""

    gpu_product: str
    num_gpus: int


class CannotStartReason(StrEnum):
    """Why the container cannot run the engine, whatever its GPU."""

    TOO_FEW_GPUS = "TooFewGpus"


@dataclass(frozen=True, slots=True)
class CannotStart(Refused[CannotStartReason | OutOfRangeReason | TooLargeReason]):
    """Why the engine would end at once, in the words of its log."""


class Profiles:
    """Answers which engine runs. `load_s` replaces the delay that follows from the weights."""

    def __init__(self, perf: PerfModel, load_s: float | None = None) -> None:
        self._perf = perf
        self._load_s = load_s

    def resolve(self, args: VllmArgs, hardware: Hardware) -> EngineProfile | CannotStart:
        """Return the engine, or why there is none."""
        if hardware.num_gpus < args.world_size:
            return CannotStart(
                CannotStartReason.TOO_FEW_GPUS,
                f"World size ({args.world_size}) is larger than the number of available GPUs "
                f"({hardware.num_gpus}) in this container.",
            )
        variant = _variant(args, hardware)
        room = self._perf.fits(variant)
        if not isinstance(room, Fits):
            return CannotStart(room.reason, room.message, room.nearest)
        step_times = self._perf.step_times(variant)
        if isinstance(step_times, OutOfRange):
            return CannotStart(step_times.reason, step_times.message, step_times.nearest)
        return EngineProfile(
            model=args.model,
            served_names=args.served_names,
            limits=replace(
                engine_limits(variant.engine, room.kv_capacity_tokens),
                batches_in_flight=host_of(variant).batches_in_flight,
                prefix_caching=args.enable_prefix_caching,
            ),
            step_times=step_times,
            weight_bytes=room.weight_bytes,
            gpu_memory_utilization=args.gpu_memory_utilization,
            loras=LoraLimits(args.max_loras, args.max_lora_rank, args.max_cpu_loras)
            if args.enable_lora
            else None,
            prompt_tokens_details=args.enable_prompt_tokens_details,
        )

    def load_s(self, profile: EngineProfile) -> float:
        """Seconds for image and weights together."""
        return load_delay_s(profile.weight_bytes) if self._load_s is None else self._load_s


def _dtype(name: str) -> Dtype | None:
    """vLLM's word for a number type; None where the checkpoint decides ("auto", other schemes)."""
    return next((dtype for dtype in Dtype if dtype.value == name), None)


def _variant(args: VllmArgs, hardware: Hardware) -> Variant:
    engine = EngineSettings(
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_model_len=args.max_model_len,
        gpu_memory_utilization=args.gpu_memory_utilization,
        block_size=args.block_size,
        quantization=_dtype(args.quantization),
        kv_cache_dtype=_dtype(args.kv_cache_dtype),
        max_loras=args.max_loras if args.enable_lora else 0,
        max_lora_rank=args.max_lora_rank,
    )
    return Variant(
        model_key=ModelKey(),  # names that only the planner uses
        model_id=args.model,
        served_names=args.served_names,
        pool="",
        gpu=hardware.gpu_product,
        tensor_parallel=args.tensor_parallel,
        pipeline_parallel=args.pipeline_parallel,
        engine=engine,
    )
