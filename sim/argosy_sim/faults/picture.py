"""The world at one moment, as its API server and its Envoy show it.

Owns what the cases read out of objects. Input: JSON objects. Output: a `Picture`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.api.conditions import Reason
from argosy.keys import NamespacedName
from argosy.snapshot.cluster import LABEL_GROUP, LABEL_POOL

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """One look. `at_s`: Unix time; `endpoints`: by pod `namespace/name`, whether Envoy counts it healthy."""

    at_s: float
    fleets: tuple[Object, ...]
    classes: tuple[Object, ...]
    models: tuple[Object, ...]
    plans: tuple[Object, ...]
    deployments: tuple[Object, ...]
    pods: tuple[Object, ...]
    endpoints: Mapping[str, bool]

    def class_of(self, name: str) -> Object:
        """A class in any namespace; {} where there is none."""
        return next((c for c in self.classes if c["metadata"]["name"] == name), {})

    def applied(self) -> Object:
        """The newest FleetPlan with Applied=True; {} where there is none."""
        applied = [p for p in self.plans if condition(p, "Applied").get("status") == "True"]
        return max(applied, key=revision, default={})

    def pods_of(self, group: str, pool: str = "") -> tuple[Object, ...]:
        """Engine pods of a sharing group (a class alone has its own name) that are not on their way out."""
        return tuple(
            pod
            for pod in self.pods
            if pod["metadata"]["labels"].get(LABEL_GROUP) == group
            and pod["metadata"]["labels"].get(LABEL_POOL, "").startswith(pool)
            and is_staying(pod)
        )

    def uids(self) -> frozenset[str]:
        """Identities of all engine pods that stay."""
        return frozenset(pod["metadata"]["uid"] for pod in self.pods if is_staying(pod))

    def num_ready(self, group: str) -> int:
        """Ready replicas of a sharing group."""
        return sum(is_true(pod, "Ready") for pod in self.pods_of(group))

    def num_planned(self) -> int:
        """Replicas of the applied plan; 0 without one."""
        return sum(d["replicas"] for d in self.applied().get("spec", {}).get("deployments", ()))

    def is_whole(self) -> bool:
        """Every class is Ready; the applied plan's replicas, no others, are ready and in Envoy's rotation."""
        return self._stands(_is_ready)

    def is_at_rest(self) -> bool:
        """It is whole, and no replica is left of a class that is gone, whose grace may go on."""
        names = {item["metadata"]["name"] for item in self.classes}
        return self.is_whole() and all(
            pod["metadata"]["labels"].get(LABEL_GROUP) in names for pod in self.pods
        )

    def is_whole_but_slo(self) -> bool:
        """As `is_whole`, though a class may be not Ready for SloMissed alone.

        Only for a case whose lost or late requests miss the promise: that reason rightly looks back five
        minutes.
        """
        return self._stands(lambda item: _is_ready(item) or _misses_slo(item))

    def _stands(self, serves: Callable[[Object], bool]) -> bool:
        staying = {key(pod) for pod in self.pods if is_staying(pod)}
        ready = {key(pod) for pod in self.pods if is_staying(pod) and is_true(pod, "Ready")}
        healthy = {name for name, is_healthy in self.endpoints.items() if is_healthy}
        return (
            bool(self.classes)
            and all(serves(c) and is_observed(c) for c in self.classes)
            and len(staying) == self.num_planned() > 0
            and staying == ready == healthy
        )

    def is_empty(self) -> bool:
        """Nothing that Argosy made still runs."""
        return not self.pods and not self.deployments


def condition(item: Object, kind: str) -> Object:
    """An object's condition; {} where it has none."""
    rows: Iterable[Object] = (item.get("status") or {}).get("conditions") or ()
    return next((row for row in rows if row["type"] == kind), {})


def is_true(item: Object, kind: str) -> bool:
    """Whether a condition is True."""
    return bool(condition(item, kind).get("status") == "True")


def _is_ready(item: Object) -> bool:
    return is_true(item, "Ready")


def _misses_slo(item: Object) -> bool:
    return bool(condition(item, "Ready").get("reason") == Reason.SLO_MISSED)


def is_staying(pod: Object) -> bool:
    """Whether no client has asked for the end of the pod."""
    return "deletionTimestamp" not in pod["metadata"]


def is_observed(item: Object) -> bool:
    """Whether an object's status is about its present spec."""
    return bool((item.get("status") or {}).get("observedGeneration") == item["metadata"]["generation"])


def key(item: Object) -> str:
    """`namespace/name`."""
    return NamespacedName.of(item["metadata"]["namespace"], item["metadata"]["name"])


def revision(plan: Object) -> int:
    """A FleetPlan's number."""
    return int(plan["spec"]["revision"])
