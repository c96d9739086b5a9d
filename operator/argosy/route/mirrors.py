"""Copies of requests for the replicas of another class, to try an engine on real traffic.

Owns which mirror of a RouterPolicy is followed, and the cluster that gets the copies. Input: policies,
classes and models, and the routes without mirrors. Output: the routes with them, and why a mirror cannot be
followed.

A request has one copy per mirror, as in Gateway API (HTTPRequestMirrorFilter), so the copies go to one
cluster of the other class: the one with the largest share. Nothing rewrites the body: an engine takes the
copy only if it serves the model that the body names. Requests for LoRA adapters are not copied, since which
replica holds an adapter is a matter of its own class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

from argosy.api import RouterPolicy, ServedModel, WorkloadClass
from argosy.api.conditions import Reason
from argosy.keys import ClassKey, DeploymentKey
from argosy.route.table import MirrorRoute, RouteEntry


def mirrored(
    routes: Sequence[RouteEntry],
    policies: Mapping[ClassKey, RouterPolicy],
    classes: Iterable[WorkloadClass],
    models: Iterable[ServedModel],
    ready: Set[DeploymentKey],
) -> tuple[RouteEntry, ...]:
    """The routes with the mirrors of their classes' policies.

    policies: by class. ready: the clusters with a ready endpoint; where no replica is, requests wait for one,
    and copies are not made
    """
    if not any(policy.spec.mirrors for policy in policies.values()):
        return tuple(routes)
    known, models = {each.key: each for each in classes}, tuple(models)
    largest = _largest_clusters(routes, ready)
    found = []
    for route in routes:
        policy, copied = policies.get(route.class_key), known.get(route.class_key)
        mirrors: tuple[MirrorRoute, ...] = ()
        if policy is not None and copied is not None and route.backends:
            mirrors = tuple(
                MirrorRoute(largest[key], mirror.percent / 100)
                for mirror in policy.spec.mirrors
                if (key := ClassKey.of(policy.metadata.namespace, mirror.name)) in largest
                and key in known
                and mirror.percent > 0
                and not missing_names(copied, known[key], models)
            )
        found.append(replace(route, mirrors=mirrors))
    return tuple(found)


def mirror_problems(
    policy: RouterPolicy, classes: Iterable[WorkloadClass], models: Iterable[ServedModel]
) -> tuple[tuple[Reason, str], ...]:
    """Why mirrors of a policy are not followed: a reason and a sentence for each that is not."""
    known, models, problems = {each.key: each for each in classes}, tuple(models), []
    namespace = policy.metadata.namespace
    targets = [known.get(ClassKey.of(namespace, target.name)) for target in policy.spec.target_refs]
    for position, mirror in enumerate(policy.spec.mirrors):
        field, to = f"spec.mirrors[{position}]", known.get(ClassKey.of(namespace, mirror.name))
        if to is None:
            reason = Reason.TARGET_NOT_FOUND
            problems.append((reason, reason.sentence(field=field, name=mirror.name)))
            continue
        for copied in targets:
            if copied is not None and (names := missing_names(copied, to, models)):
                reason, parts = Reason.MIRROR_UNSERVED, {"field": field, "name": names[0]}
                sentence = reason.sentence(**parts, copied=str(copied.key), mirror=str(to.key))
                problems.append((reason, sentence))
    return tuple(problems)


def missing_names(
    copied: WorkloadClass, mirror: WorkloadClass, models: Iterable[ServedModel]
) -> tuple[str, ...]:
    """The names in `copied`'s requests that a model of `mirror` does not serve, sorted."""
    by_key = {model.key: model for model in models}
    own = [by_key[key] for key in copied.model_keys if key in by_key]
    adapters = {adapter.name for model in own for adapter in model.spec.adapters}
    named = set(copied.spec.match.models) or {name for model in own for name in model.served_names}
    others = [set(by_key[key].served_names) for key in mirror.model_keys if key in by_key]
    return tuple(sorted(name for name in named - adapters if not all(name in served for served in others)))


def _largest_clusters(
    routes: Iterable[RouteEntry], ready: Set[DeploymentKey]
) -> dict[ClassKey, DeploymentKey]:
    """By class, of all its routes the ready one with the largest share; of equal ones the first by name."""
    shares: dict[ClassKey, dict[DeploymentKey, float]] = {}
    for route in routes:
        of_class = shares.setdefault(route.class_key, {})
        for backend in (each for each in route.backends if each.cluster in ready):
            of_class[backend.cluster] = of_class.get(backend.cluster, 0.0) + backend.share
    return {
        key: min(of_class, key=lambda name: (-of_class[name], name))
        for key, of_class in shares.items()
        if of_class
    }
