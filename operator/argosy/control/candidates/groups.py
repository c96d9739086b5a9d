"""Candidates: the variants that can serve a class within its sharing group.

Owns what one replica carries of a group: the requests of all its classes together, in proportion to
their rates, within the strictest SLO of any of them. Input: what can serve each class by itself, the
groups, and the rates. Output: a `Resolution` with candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from argosy.control.candidates.refusal import Refusal
from argosy.control.candidates.resolve import (
    AbleVariant,
    Candidate,
    Known,
    Resolution,
    ResolvedClass,
    capacity_refusal,
    perf_refusal,
)
from argosy.control.candidates.workload import mix_of_all, strictest
from argosy.control.cells import RouteCells
from argosy.control.state.restarts import workload_of
from argosy.keys import ClassKey, DeploymentKey, GroupName
from argosy.manifests import EngineWorkload
from argosy.perf.footprint.memory import load_delay_s
from argosy.perf.protocol import Capacity, Fits
from argosy.snapshot.cluster import DeploymentState

_Answers = Mapping[tuple[GroupName, str], Candidate | Refusal]
"""By group and variant's name."""


def in_groups(
    resolution: Resolution, cells: RouteCells, rate_by_class: Mapping[ClassKey, float], known: Known
) -> Resolution:
    """The resolution with the candidates of every class. `rate_by_class`: requests/s."""
    answers: dict[tuple[GroupName, str], Candidate | Refusal] = {}
    for group in cells.groups:
        members = [resolution.classes[key] for key in cells.classes_of(group)]
        by_name: dict[str, list[tuple[ResolvedClass, AbleVariant]]] = {}
        for member in members:
            for able in member.able:
                by_name.setdefault(able.variant.name, []).append((member, able))
        for name, those in by_name.items():
            answers[group, name] = _candidate(group, those, rate_by_class, known)
    adopted = {
        each.key: _adopted(each, resolution, cells, rate_by_class, known) for each in _adoptable(known)
    }
    classes = {
        key: _with_adopted(
            _with_candidates(found, cells.groups_of(key), answers, known.anchored), cells, adopted.values()
        )
        for key, found in resolution.classes.items()
    }
    refused = {key: answer for key, answer in adopted.items() if isinstance(answer, Refusal)}
    return replace(resolution, classes=classes, adoption_refusals=refused)


def _candidate(
    group: GroupName,
    members: list[tuple[ResolvedClass, AbleVariant]],
    rate_by_class: Mapping[ClassKey, float],
    known: Known,
) -> Candidate | Refusal:
    """One variant for the members that it can serve: the same candidate for all of them."""
    classes, (_, able) = [member for member, _ in members], members[0]
    variant = able.variant
    mix = mix_of_all((each.mix, rate_by_class[each.key]) for each in classes)
    slo = strictest(each.slo for each in classes)
    own = next((a.capacity for each, a in members if (each.mix, each.slo) == (mix, slo)), None)
    answer = own or known.perf_by_model[variant.model_key].capacity(variant, mix, slo)
    if not isinstance(answer, Capacity) or answer.requests_per_s <= 0:
        return capacity_refusal(variant, answer)
    return Candidate(workload_of(known.snapshot, known.restarts, variant, group), answer, able.load_s)


def _adoptable(known: Known) -> list[DeploymentState]:
    """The Deployments of users that take part, by key."""
    states = sorted(known.snapshot.deployments.items())
    return [s for _, s in states if s.is_adopted and not s.is_given_back and not s.is_going]


def _adopted(
    state: DeploymentState,
    resolution: Resolution,
    cells: RouteCells,
    rate_by_class: Mapping[ClassKey, float],
    known: Known,
) -> Candidate | Refusal:
    """What a user's Deployment carries of the group of its class: its settings may be any."""
    adoption = state.adoption
    assert adoption is not None
    assert adoption.variant is not None  # `_adoptable` looked
    variant, perf = adoption.variant, known.perf_by_model[adoption.variant.model_key]
    group = next(iter(cells.groups_of(adoption.workload_class)))
    members = [resolution.classes[key] for key in cells.classes_of(group)]
    able = [each for each in members if variant.model_key in each.spec.model_keys]
    fits = perf.fits(variant)
    if not isinstance(fits, Fits):
        return perf_refusal(variant, fits)
    mix = mix_of_all((each.mix, rate_by_class[each.key]) for each in able)
    answer = perf.capacity(variant, mix, strictest(each.slo for each in able))
    if not isinstance(answer, Capacity) or answer.requests_per_s <= 0:
        return capacity_refusal(variant, answer)
    pool = known.snapshot.pools[variant.pool]
    workload = EngineWorkload(variant, group, pool, adopted=state.key)
    return Candidate(workload, answer, load_delay_s(fits.weight_bytes))


def _with_adopted(
    found: ResolvedClass, cells: RouteCells, answers: Iterable[Candidate | Refusal]
) -> ResolvedClass:
    """With those of its groups that run a model which the class allows."""
    groups = cells.groups_of(found.key) if found.gets_requests else ()
    more = tuple(
        each
        for each in answers
        if isinstance(each, Candidate)
        and each.workload.group in groups
        and each.workload.variant.model_key in found.spec.model_keys
    )
    return replace(found, candidates=(*found.candidates, *more))


def _with_candidates(
    found: ResolvedClass,
    groups: tuple[GroupName, ...],
    answers: _Answers,
    anchored: frozenset[DeploymentKey],
) -> ResolvedClass:
    candidates: list[Candidate] = []
    refusals = list(found.refusals)
    for able in found.able:
        for group in groups:
            answer = answers[group, able.variant.name]
            if isinstance(answer, Refusal):
                refusals.append(answer)
            elif able.no_room is None or answer.workload.key in anchored:
                candidates.append(answer)
            else:
                refusals.append(able.no_room)
    return replace(found, candidates=tuple(candidates), refusals=tuple(refusals))
