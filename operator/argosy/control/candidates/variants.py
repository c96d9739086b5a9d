"""A user's ServedModel and GPUPools as variants.

Owns the translation of declared engine settings, architectures and shapes into the nouns that
decisions share. Input: a snapshot and one of its ServedModels. Output: `Variant`s, each of which names its
pool.
"""

from __future__ import annotations

from dataclasses import replace

from argosy.api import GPUPool, ServedModel
from argosy.api.architecture import DeclaredArchitecture
from argosy.api.servedmodel import ParallelShape
from argosy.control.hardware.declared import pool_gpu
from argosy.snapshot import Architecture, Dtype, EngineSettings, Gpu, Variant
from argosy.snapshot.architecture import Family, WeightLayout
from argosy.snapshot.fleet import FleetSnapshot


def variants_of(snapshot: FleetSnapshot, model: ServedModel) -> tuple[Variant, ...]:
    """Every variant of a model, by pool and then parallel shape."""
    return tuple(
        _variant(model, shape, pool, _engine(model, pool))
        for _, pool in sorted(snapshot.pools.items())
        for shape in sorted(
            model.spec.parallel_shapes, key=lambda s: (s.tensor_parallel, s.pipeline_parallel)
        )
    )


def adopted_variant(
    model: ServedModel, pool: GPUPool, shape: ParallelShape, engine: EngineSettings
) -> Variant:
    """What a user's Deployment runs of a model; how a replica of it is removed, the ServedModel says."""
    return _variant(model, shape, pool, replace(engine, drain_seconds=model.spec.engine.drain_seconds))


def _engine(model: ServedModel, pool: GPUPool) -> EngineSettings:
    """The settings of `spec.engine`; of a shared card, an engine takes its share of the memory."""
    engine = EngineSettings.of(model.spec.engine)
    if pool.spec.sharing is None:
        return engine
    share = round(engine.gpu_memory_utilization / pool.spec.sharing.replicas_per_gpu, 4)
    return replace(engine, gpu_memory_utilization=share)


def _variant(model: ServedModel, shape: ParallelShape, pool: GPUPool, engine: EngineSettings) -> Variant:
    gpu = pool_gpu(pool.spec)
    return Variant(
        model_key=model.key,
        model_id=model.spec.model_id,
        served_names=model.served_names,
        pool=pool.metadata.name,
        gpu=gpu.name if isinstance(gpu, Gpu) else pool.spec.gpu,
        tensor_parallel=shape.tensor_parallel,
        pipeline_parallel=shape.pipeline_parallel,
        engine=engine,
        architecture=None if model.spec.architecture is None else _architecture(model.spec.architecture),
        declared_gpu=gpu if isinstance(gpu, Gpu) and pool.spec.gpu_spec is not None else None,
    )


def _architecture(declared: DeclaredArchitecture) -> Architecture:
    written = {name: getattr(declared, name) for name in type(declared).model_fields}
    layout = declared.layout
    return Architecture(
        **written
        | {
            "active_parameters": declared.active_parameters or declared.parameters,
            "dtype": Dtype(declared.dtype),
            "kv_dtype": Dtype(declared.kv_dtype),
            "family": None if declared.family is None else Family(declared.family),
            "layout": None if layout is None else WeightLayout(**layout.model_dump()),
        }
    )
