"""Owns what the virtual kubelet reports of a pod: the status object, as a pure function.

Input: the pod and its `PodCondition`.
Output: a strategic merge patch of `status`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from argosy_sim.controlplane.host.ports import LOOPBACK

Object = dict[str, Any]


class Phase(StrEnum):
    """How far the engine container is (or, for a foreign pod, its containers)."""

    CREATING = "ContainerCreating"
    """Image and weights are being loaded."""
    RUNNING = "Running"
    BACK_OFF = "CrashLoopBackOff"
    FAILED = "Failed"
    """It ended and `restartPolicy` forbids another start."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended. `reason` as kubectl shows it: Error, Completed."""

    code: int
    reason: str
    message: str
    finished_at: str


@dataclass(frozen=True, slots=True)
class PodCondition:
    """Everything that varies. Times are RFC 3339; `address` is the pod's IP, `host_ip` the node's.

    `changed_at`: since when readiness is as it is. `engine`: the engine container's name, or
    None in a foreign pod, all of whose containers run. `is_well`: its readiness probe does not fail.
    `running_at`: since when the engine runs; empty where it is ready since then.
    """

    phase: Phase
    address: str
    started_at: str
    changed_at: str
    engine: str | None
    restarts: int = 0
    last_exit: Exit | None = None
    is_well: bool = True
    running_at: str = ""
    host_ip: str = LOOPBACK

    @property
    def is_ready(self) -> bool:
        """Whether the pod can serve."""
        return self.phase is Phase.RUNNING and self.is_well


def status_patch(pod: Object, now: PodCondition) -> Object:
    """Return the status to report."""
    return {
        "phase": _pod_phase(now),
        "conditions": _conditions(now),
        "hostIP": now.host_ip,
        "hostIPs": [{"ip": now.host_ip}],
        "podIP": now.address,
        # The address of a pod that starts anew is another one: merged, both would be listed, and refused.
        "podIPs": [{"$patch": "replace"}, {"ip": now.address}],
        "startTime": now.started_at,
        "initContainerStatuses": [
            _init_status(container, now) for container in pod["spec"].get("initContainers", ())
        ],
        "containerStatuses": [_container_status(container, now) for container in pod["spec"]["containers"]],
    }


def _pod_phase(now: PodCondition) -> str:
    if now.phase is Phase.FAILED:
        return "Failed"
    # As a kubelet: Pending until the containers were there once, Running also between crashes.
    return "Running" if now.phase is Phase.RUNNING or now.restarts or now.last_exit else "Pending"


def _conditions(now: PodCondition) -> list[Object]:
    ready = _condition(now.is_ready, now.changed_at)
    if not now.is_ready:
        ready |= {
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{now.engine}]",
        }
    met = _condition(True, now.started_at)
    return [
        {"type": "PodScheduled"} | met,
        {"type": "PodReadyToStartContainers"} | met,
        {"type": "Initialized"} | met,
        {"type": "ContainersReady"} | ready,
        {"type": "Ready"} | ready,
    ]


def _condition(is_true: bool, since: str) -> Object:
    # null removes what an earlier patch set.
    return {
        "status": "True" if is_true else "False",
        "lastTransitionTime": since,
        "reason": None,
        "message": None,
    }


def _container_status(container: Object, now: PodCondition) -> Object:
    status = _any_status(container)
    is_engine, runs = container["name"] == now.engine, now.phase is Phase.RUNNING
    if not is_engine and now.engine is not None and not runs:
        return status | _not_running({"waiting": {"reason": Phase.CREATING.value}}, 0)
    if not is_engine or runs:
        running = {"running": {"startedAt": now.running_at or now.changed_at}}
        restarts = now.restarts if is_engine else 0
        shown = {
            "ready": now.is_well or not is_engine,
            "started": True,
            "restartCount": restarts,
            "state": running,
        }
        return status | shown | _last_state(container, now)
    return status | _not_running(_engine_state(now), now.restarts) | _last_state(container, now)


def _engine_state(now: PodCondition) -> Object:
    if now.phase is Phase.FAILED and now.last_exit is not None:
        return {"terminated": _terminated(now.last_exit)}
    waiting: Object = {"reason": now.phase.value}
    if now.phase is Phase.BACK_OFF and now.last_exit is not None:
        waiting["message"] = now.last_exit.message
    return {"waiting": waiting}


def _last_state(container: Object, now: PodCondition) -> Object:
    if container["name"] != now.engine or now.last_exit is None:
        return {}
    return {"lastState": {"terminated": _terminated(now.last_exit)}}


def _not_running(state: Object, restarts: int) -> Object:
    return {"ready": False, "started": False, "restartCount": restarts, "state": state}


def _terminated(ended: Exit) -> Object:
    return {
        "exitCode": ended.code,
        "reason": ended.reason,
        "message": ended.message,
        "finishedAt": ended.finished_at,
    }


def _init_status(container: Object, now: PodCondition) -> Object:
    if container.get("restartPolicy") == "Always":  # a sidecar runs on
        shown = {"ready": True, "started": True, "state": {"running": {"startedAt": now.started_at}}}
    else:
        ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now.started_at}
        shown = {"ready": True, "started": False, "state": {"terminated": ended}}
    return _any_status(container) | shown | {"restartCount": 0}


def _any_status(container: Object) -> Object:
    image = container.get("image", "")
    return {
        "name": container["name"],
        "image": image,
        "imageID": f"simulated://{image}",
        "containerID": f"argosy://{container['name']}",
    }
