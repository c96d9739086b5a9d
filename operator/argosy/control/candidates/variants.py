"""A user's ServedModel and GPUPools as variants.

Owns the translation of declared engine settings, architectures and shapes into the nouns that
decisions share. Input: a snapshot and one of its ServedModels. Output: `Variant`s, each of which names its
pool.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from argosy.api import GPUPool, ServedModel
from argosy.api.architecture import DeclaredArchitecture, DeclaredLayout
from argosy.api.engine.pod import EnginePod
from argosy.api.servedmodel import ParallelShape
from argosy.control.hardware.declared import is_declared, pool_gpu
from argosy.keys import GroupName
from argosy.manifests import EngineWorkload, deployment_manifest, pod_template
from argosy.manifests.pod_requests import workload_requests
from argosy.snapshot import Architecture, Dtype, EngineSettings, Gpu, Variant
from argosy.snapshot.architecture import Family, WeightLayout
from argosy.snapshot.cluster import ENGINE_CONTAINER
from argosy.snapshot.fleet import FleetSnapshot, TemplateKey

_PLAIN = EnginePod()


def variants_of(snapshot: FleetSnapshot, model: ServedModel) -> tuple[Variant, ...]:
    """Every variant of a model, by pool and then parallel shape."""
    return tuple(
        _variant(model, shape, pool, _engine(model, pool))
        for _, pool in sorted(snapshot.pools.items())
        for shape in sorted(
            model.spec.parallel_shapes, key=lambda s: (s.tensor_parallel, s.pipeline_parallel)
        )
    )


def templates_to_try(snapshot: FleetSnapshot) -> dict[TemplateKey, dict[str, Any]]:
    """A Deployment without replicas by ServedModel and pool, where a user has shaped the pod: the API server
    judges it. One shape stands for all, which differ in numbers of GPUs.
    """
    return {
        (key, variant.pool): deployment_manifest(_trial(snapshot, variant), 0)
        for key, model in sorted(snapshot.models.items())
        if key.namespace not in snapshot.ending and _shapes_pods(model)
        for variant in reversed(variants_of(snapshot, model))
    }


def template_fault(snapshot: FleetSnapshot, variant: Variant) -> str | None:
    """Why its pods cannot be made in its pool; None where nothing is known against them."""
    said = snapshot.template_refusals.get((variant.model_key, variant.pool))
    if said is not None:
        return f"the API server refuses it: {said.rstrip('.')}"
    gpus, pod = snapshot.pools[variant.pool].spec.resource_name, variant.engine.pod
    if gpus in {*pod.resources.requests, *pod.resources.limits}:
        return f"spec.engine.resources names {gpus}, of which spec.parallelShapes sets the number"
    if not pod.pod_template_patch:
        return None
    spec = pod_template(_trial(snapshot, variant))["spec"]
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        resources = container.get("resources") or {}
        found = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}.get(gpus)
        wanted = str(variant.gpus) if container["name"] == ENGINE_CONTAINER else None
        if found != wanted:
            return (
                f"spec.engine.podTemplatePatch gives container {container['name']} {found or 'no'} {gpus}, of"
                " which spec.parallelShapes sets the number"
            )
    return None


def requests_of(snapshot: FleetSnapshot, variant: Variant) -> dict[str, int]:
    """What the scheduler keeps free for one replica beside its GPUs, in thousandths by resource."""
    return workload_requests(_trial(snapshot, variant))


def _trial(snapshot: FleetSnapshot, variant: Variant) -> EngineWorkload:
    group = GroupName.of(variant.model_key.namespace, variant.model_key.name)
    return EngineWorkload(variant, group, snapshot.pools[variant.pool])


def _shapes_pods(model: ServedModel) -> bool:
    engine = model.spec.engine
    return any(getattr(engine, field) != getattr(_PLAIN, field) for field in EnginePod.model_fields)


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
        architecture=None
        if model.spec.architecture is None
        else declared_architecture(model.spec.architecture),
        declared_gpu=gpu if isinstance(gpu, Gpu) and is_declared(pool.spec) else None,
    )


def declared_architecture(declared: DeclaredArchitecture) -> Architecture:
    """The dimensions that `spec.architecture` declares."""
    layout = declared.layout
    return Architecture(
        layers=declared.layers,
        hidden_size=declared.hidden_size,
        intermediate_size=declared.intermediate_size,
        attention_heads=declared.attention_heads,
        kv_heads=declared.kv_heads,
        head_dim=declared.head_dim,
        vocabulary=declared.vocabulary,
        parameters=declared.parameters,
        active_parameters=declared.active_parameters or declared.parameters,
        max_context=declared.max_context,
        tied_embeddings=declared.tied_embeddings,
        query_key_norm=declared.query_key_norm,
        experts=declared.experts,
        experts_per_token=declared.experts_per_token,
        expert_intermediate_size=declared.expert_intermediate_size,
        dense_layers=declared.dense_layers,
        shared_expert_intermediate_size=declared.shared_expert_intermediate_size,
        mla_kv_dim=declared.mla_kv_dim,
        mla_rope_dim=declared.mla_rope_dim,
        index_dim=declared.index_dim,
        sliding_window=declared.sliding_window,
        sliding_layers=declared.sliding_layers,
        full_kv_heads=declared.full_kv_heads,
        full_head_dim=declared.full_head_dim,
        linear_layers=declared.linear_layers,
        state_bytes=declared.state_bytes,
        dtype=Dtype(declared.dtype),
        kv_dtype=Dtype(declared.kv_dtype),
        weight_block=declared.weight_block,
        family=None if declared.family is None else Family(declared.family),
        layout=None if layout is None else _layout(layout),
    )


def _layout(declared: DeclaredLayout) -> WeightLayout:
    return WeightLayout(
        split_tables=declared.split_tables,
        whole_tables=declared.whole_tables,
        split=declared.split,
        whole=declared.whole,
        routers=declared.routers,
        stored_split_bytes=declared.stored_split_bytes,
        stored_whole_bytes=declared.stored_whole_bytes,
    )
