"""Where the LoRA adapters of a ServedModel are loaded: its status, and the condition AdaptersReady.

Owns the state of each adapter and the condition's sentence. Input: what is reported, and the model. Output:
`AdapterStatus`es, and a `Verdict` for a model that has adapters or had some.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from argosy.api import ServedModel
from argosy.api.conditions import Condition, ConditionType, Reason, find_condition
from argosy.api.engine.adapters import MOST_PODS, Adapter, AdapterState, AdapterStatus, ShareSource
from argosy.control.adapters.steps import Targets, limits_of, targets
from argosy.control.status.verdict import Verdict, false, true
from argosy.demand.adapters import AdapterLoads, ExpectedLoad
from argosy.plan.explain.words import counted
from argosy.snapshot.adapters.record import LoadFailure
from argosy.snapshot.cluster import PodState
from argosy.snapshot.fleet import FleetSnapshot

MOST_NAMED = 12
"""Adapters that a sentence names; of more, it gives the number."""

_BY_STATE: Mapping[AdapterState, Reason] = {
    AdapterState.FAILED: Reason.ADAPTERS_FAILED,
    AdapterState.NO_SLOT: Reason.ADAPTERS_WITHOUT_SLOT,
    AdapterState.LOADING: Reason.ADAPTERS_LOADING,
}
"""The most urgent first."""

_SOURCES = {True: ShareSource.MEASURED, False: ShareSource.DECLARED}


@dataclass(frozen=True, slots=True)
class _Picture:
    model: ServedModel
    found: Targets
    acts: bool

    def expected(self, name: str) -> ExpectedLoad | None:
        """Its largest expected load in a sharing group; None where no replica of a group could hold it."""
        of_groups = (each for (key, _), each in self.found.expected.items() if key == self.model.key)
        return max((each[name] for each in of_groups if name in each), key=attrgetter("share"), default=None)

    @property
    def pods(self) -> tuple[PodState, ...]:
        return self.found.pods.get(self.model.key, ())

    def able(self, adapter: Adapter) -> list[PodState]:
        """The pods whose engines were started for such an adapter: during an exchange the others were not."""
        limits = [(pod, limits_of(pod, self.model)) for pod in self.pods]
        return [pod for pod, each in limits if each.slots and each.rank >= adapter.rank]

    def holders(self, name: str) -> list[str]:
        """Names of the pods that hold an adapter and take its requests."""
        return sorted(pod.name for pod in self.pods if pod.adapters is not None and name in pod.adapters.held)

    def failures(self, adapter: Adapter) -> list[tuple[str, LoadFailure]]:
        """The pods that did not load it from its present source."""
        failed = (
            (pod, pod.adapters.failed.get(adapter.name)) for pod in self.pods if pod.adapters is not None
        )
        return [
            (pod.name, each) for pod, each in failed if each is not None and each.source == adapter.source
        ]


def adapter_statuses(
    snapshot: FleetSnapshot, model: ServedModel, loads: AdapterLoads
) -> tuple[AdapterStatus, ...]:
    """The status of each adapter, in the order of the spec. loads: what was counted of their requests"""
    if not model.spec.adapters:
        return ()
    picture = _Picture(model, targets(snapshot, loads=loads), snapshot.acts)
    without_slot = picture.found.without_slot(model.key)
    return tuple(_status(picture, adapter, adapter.name in without_slot) for adapter in model.spec.adapters)


def adapter_verdicts(
    model: ServedModel, statuses: Iterable[AdapterStatus], num_pods: int, before: tuple[Condition, ...]
) -> list[Verdict]:
    """The condition; none for a model that has no adapters and never had some."""
    kind, found = ConditionType.ADAPTERS_READY, tuple(statuses)
    if not found and find_condition(before, kind) is None:
        return []
    by_state = {state: [each for each in found if each.state is state] for state in _BY_STATE}
    state = next((state for state, each in by_state.items() if each), None)
    if state is None:
        return [true(kind, Reason.ADAPTERS_READY)]
    others = "; ".join(
        f"{other.value}: {_named(each)}" for other, each in by_state.items() if each and other is not state
    )
    reason = _BY_STATE[state]
    parts: dict[str, object] = {
        "adapters": _named(by_state[state]),
        "detail": (by_state[state][0].message or "").rstrip("."),
        "replicas": counted(num_pods, "replica"),
        "slots": model.spec.engine.max_loras,
        "wanted": sum(each.state is not AdapterState.NOT_ROUTED for each in found),
        "others": f" Besides: {others}." if others else "",
    }
    return [false(kind, reason, **{name: parts[name] for name in reason.parts})]


def _status(picture: _Picture, adapter: Adapter, lacks_slot: bool) -> AdapterStatus:
    holders, failures = picture.holders(adapter.name), picture.failures(adapter)
    is_routed = adapter.name in picture.found.routed.get(picture.model.key, ())
    state: AdapterState = AdapterState.LOADING
    message: str | None = _why_loading(picture, adapter)
    if not is_routed:
        state = AdapterState.NOT_ROUTED
        message = (
            f"no WorkloadClass sends requests for it: add {adapter.name} to spec.match.models of a class of"
            " this model"
        )
    elif holders:
        state, message = AdapterState.LOADED, _failed_words(failures) if failures else None
    elif failures:
        state, message = AdapterState.FAILED, _failed_words(failures)
    elif lacks_slot and picture.able(adapter):
        state = AdapterState.NO_SLOT
        slots = picture.model.spec.engine.max_loras
        message = (
            f"{counted(len(picture.able(adapter)), 'replica')} with maxLoras {slots} have no slot for it:"
            " raise spec.engine.maxLoras, or remove adapters"
        )
    expected = picture.expected(adapter.name)
    return AdapterStatus(
        name=adapter.name,
        request_share=None if expected is None else float(f"{expected.share:.1g}"),
        share_source=None if expected is None else _SOURCES[expected.is_measured],
        state=state,
        replicas=len(holders),
        pods=tuple(holders[:MOST_PODS]),
        message=message,
    )


def _why_loading(picture: _Picture, adapter: Adapter) -> str:
    if not picture.acts:
        return "Argosy does not act on its plans (spec.mode of the Fleet), so it loads no adapter"
    if not picture.pods:
        return "no replica is ready"
    if not picture.able(adapter):
        return (
            "the replicas that run were started without LoRA or for a smaller maxLoraRank: those that replace"
            " them load it"
        )
    return "no replica that takes requests has loaded it yet"


def _failed_words(failures: list[tuple[str, LoadFailure]]) -> str:
    pod, failure = failures[0]
    more = f", and on {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"not loaded from {failure.source} on {pod}{more}: {failure.words}"[:1024]


def _named(statuses: Iterable[AdapterStatus]) -> str:
    names = [each.name for each in statuses]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
