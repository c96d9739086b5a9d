"""Which Deployments have a number of replicas that another client sets, by rule and not by hand.

Owns the reading of HorizontalPodAutoscalers (KEDA makes one for each ScaledObject) and the rule that tells
whose number a Deployment's is. Input: autoscalers as the API server has them, Deployments. Output:
`CountOwner`s. What follows of one is decided by `control.candidates.autoscaled`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.api.schema.ownership import AUTOSCALED_BY, Path, other_owner
from argosy.keys import DeploymentKey, NamespacedName
from argosy.snapshot.cluster import DeploymentState

Object = Mapping[str, Any]

AUTOSCALERS = "horizontalpodautoscalers"
"""The plural of their kind."""
SCALED_OBJECT = "ScaledObject"

_COUNT: Path = ("spec", "replicas")
_OWN_NAME = re.compile(r".+-[bcdfghjklmnpqrstvwxz2456789]{7}")
"""What the names of Deployments that Argosy makes look like."""


@dataclass(frozen=True, slots=True)
class AutoscalerState:
    """A HorizontalPodAutoscaler that names a Deployment, Argosy's or another.

    least, most: its bounds
    maker: key of the KEDA ScaledObject that it was made for, if any
    """

    key: NamespacedName
    deployment: DeploymentKey
    least: int
    most: int
    maker: NamespacedName | None = None

    @property
    def is_of_argosy(self) -> bool:
        """Whether its Deployment's name is as those that Argosy makes."""
        return _OWN_NAME.fullmatch(self.deployment.name) is not None


@dataclass(frozen=True, slots=True)
class CountOwner:
    """What sets the number of replicas of a Deployment in Argosy's place.

    title:  its name in sentences
    remedy: what gives the number back to Argosy, as an order
    bounds: the numbers that it may set, in words; empty where they are not known
    """

    title: str
    remedy: str
    bounds: str = ""


def autoscaler_state(item: Object) -> AutoscalerState | None:
    """A HorizontalPodAutoscaler; None where it names no Deployment."""
    metadata, spec = item["metadata"], item.get("spec") or {}
    target = spec.get("scaleTargetRef") or {}
    group = str(target.get("apiVersion") or "").partition("/")[0]
    name, namespace = str(target.get("name") or ""), metadata.get("namespace") or ""
    if target.get("kind") != "Deployment" or group != "apps" or not name:
        return None
    makers = (str(o.get("name")) for o in metadata.get("ownerReferences") or () if _is_scaled_object(o))
    maker = next(makers, "")
    least = spec.get("minReplicas")
    return AutoscalerState(
        key=NamespacedName.of(namespace, metadata.get("name") or ""),
        deployment=DeploymentKey.of(namespace, name),
        least=1 if least is None else int(least),
        most=int(spec.get("maxReplicas") or 0),
        maker=NamespacedName.of(namespace, maker) if maker else None,
    )


def _is_scaled_object(owner: Object) -> bool:
    return owner.get("kind") == SCALED_OBJECT and str(owner.get("apiVersion") or "").startswith("keda.sh/")


def count_owners(
    deployments: Mapping[DeploymentKey, DeploymentState],
    autoscalers: Iterable[AutoscalerState],
    *,
    are_seen: bool,
) -> dict[DeploymentKey, CountOwner]:
    """By Deployment: what sets its number in Argosy's place; a Deployment that is going has none.

    are_seen: whether every autoscaler is known. Where the operator may not list them, the field manager of
        the count tells, from the first number that an autoscaler has set
    """
    found: dict[DeploymentKey, CountOwner] = {}
    for each in sorted(autoscalers, key=lambda a: a.key):
        state = deployments.get(each.deployment)
        if state is not None and not state.is_going:
            found.setdefault(each.deployment, _owner(each))
    if not are_seen:
        for key, state in deployments.items():
            if key not in found and not state.is_going and _is_autoscaled(state):
                found[key] = _unseen_owner(key)
    return found


def _owner(autoscaler: AutoscalerState) -> CountOwner:
    bounds = f"{autoscaler.least} to {autoscaler.most} replicas"
    title = f"HorizontalPodAutoscaler {autoscaler.key}"
    if autoscaler.maker:
        title = f"KEDA {SCALED_OBJECT} {autoscaler.maker}"
    return CountOwner(title, f"delete {title.removeprefix('KEDA ')}", bounds)


def _unseen_owner(key: DeploymentKey) -> CountOwner:
    return CountOwner(
        f"a HorizontalPodAutoscaler (field manager {AUTOSCALED_BY})",
        f"delete the HorizontalPodAutoscaler of Deployment {key}",
    )


def _is_autoscaled(state: DeploymentState) -> bool:
    owner = other_owner(state.managers, _COUNT)
    return owner is not None and owner.name == AUTOSCALED_BY and owner.subresource == "scale"
