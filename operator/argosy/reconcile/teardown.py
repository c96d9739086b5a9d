"""Removing all that Argosy made: lists what is left, deletes what goes next, waits, and says for what.

Owns the requests and the waiting of `argosy down`; what goes when is `control.teardown`'s business. Input:
the API server and an order. Output: an `Outcome`. It can be stopped and run again at any time: what is left
is read from the cluster each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from argosy.api.fleet import Mode
from argosy.api.kinds import CUSTOM, USER_SPECS
from argosy.api.schema.timestamp import seconds_of
from argosy.control.teardown import sentences
from argosy.control.teardown.course import next_round
from argosy.control.teardown.remains import (
    ENGINES,
    Leader,
    Left,
    Remains,
    is_engine_object,
    is_removed_by_itself,
    left,
    mode_of,
    pod_left,
)
from argosy.errors import ActuationError, NextStep, Obstacle
from argosy.exit_codes import ExitCode
from argosy.kube.api import LEASES, PODS, ApiServer, path_of
from argosy.kube.failures import words
from argosy.reconcile.clock import Clock
from argosy.reconcile.envoy_leases import LABEL as LISTS_ENVOYS
from argosy.reconcile.leadership import NONCE, LeaseSettings
from argosy.reconcile.reporting.clock_offset import MOST_OFFSET_S
from argosy.refusals import Refused
from argosy.snapshot.cluster import LABEL_MANAGED_BY, MANAGED_BY

Object = Mapping[str, Any]

POLL_S = 1.0
SAY_EVERY_S = 5.0
_SELECTOR = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
_LEASE_NAME = LeaseSettings("").name
_LATE_S = 1.0
"""Of a renewal, beyond the Lease's duration."""


@dataclass(frozen=True, slots=True)
class Order:
    """everything: the users' objects too; timeout_s: from the agreement on."""

    everything: bool
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended, in a sentence."""

    code: ExitCode
    sentence: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """A Lease's version, and since when it is seen (monotonic). `is_alive`: it has been seen to change."""

    version: str
    at_s: float
    is_alive: bool


class Teardown:
    """One run."""

    def __init__(self, api: ApiServer, clock: Clock, order: Order, say: Callable[[str], None]) -> None:
        self._api, self._clock, self._order, self._say = api, clock, order, say
        self._leases: dict[str, _Seen] = {}
        self._removed: dict[Left, None] = {}
        self._pods: set[str] = set()
        self._mode: Mode | None = None

    async def run(self, agrees: Callable[[str], bool]) -> Outcome:
        """Look, ask, remove and wait.

        agrees: asked once what would be removed; nothing is removed before it answers True. Raises
        ActuationError where the API server refuses, or does not answer the first question.
        """
        remains = await self._look()
        everything = self._order.everything
        step = next_round(remains, everything=everything)
        if isinstance(step, Refused):
            return Outcome(ExitCode.BAD_INPUT, step.message)
        if sentences.is_empty(remains, everything=everything):
            return Outcome(ExitCode.OK, sentences.finished((), 0, remains))
        if not agrees(sentences.intention(remains, everything=everything)):
            return Outcome(ExitCode.BAD_INPUT, "nothing was removed")
        return await self._remove(remains)

    async def _remove(self, remains: Remains) -> Outcome:
        everything, began_s = self._order.everything, self._clock.monotonic_s()
        said_s = began_s - SAY_EVERY_S
        while True:
            step = next_round(remains, everything=everything)
            if isinstance(step, Refused):
                return Outcome(ExitCode.BAD_INPUT, step.message)
            problem = await self._delete(step.removals)
            if step.is_last and not problem:
                return Outcome(ExitCode.OK, sentences.finished(self._removed, len(self._pods), remains))
            await self._clock.sleep(POLL_S)
            try:
                remains = await self._look()
            except ActuationError as error:
                problem = _explained(error)
            now_s, monotonic_s = self._clock.now_s(), self._clock.monotonic_s()
            if monotonic_s - began_s >= self._order.timeout_s:
                limit_s = self._order.timeout_s
                said = sentences.timed_out(remains, now_s, limit_s, everything=everything)
                return Outcome(
                    ExitCode.NOT_KEPT,
                    f"{problem}; when it last answered this was left, {said}" if problem else said,
                )
            if monotonic_s - said_s >= SAY_EVERY_S:
                said_s = monotonic_s
                waits = sentences.waiting(remains, now_s, everything=everything)
                if problem or waits != sentences.NOTHING:
                    self._say(problem or waits)

    async def _delete(self, removals: tuple[Left, ...]) -> str:
        """Delete these; returns why some could not be deleted, to be tried again. Raises ActuationError."""
        problem = ""
        for item in removals:
            try:
                await self._api.delete(path_of(item.plural), item.key)
            except ActuationError as error:
                problem = _explained(error)
                continue
            self._removed[item] = None
        return problem

    # --- what is there ---------------------------------------------------------------------------

    async def _look(self) -> Remains:
        """Everything of Argosy's now. Raises ActuationError."""
        listed = {plural: await self._listed(plural) for plural in (*USER_SPECS, "fleetplans")}
        missing = frozenset(plural for plural, items in listed.items() if items is None)
        objects = [left(plural, item) for plural, items in listed.items() for item in items or ()]
        for plural in ENGINES:
            found, _ = await self._api.list(path_of(plural), _SELECTOR)
            objects += [left(plural, item) for item in found if is_removed_by_itself(plural, item)]
        pods, _ = await self._api.list(PODS, _SELECTOR)
        replicas = tuple(pod_left(pod) for pod in pods if is_engine_object(pod))
        self._pods |= {pod.key for pod in replicas}
        leases, identity = await self._election()
        objects += [left(LEASES.plural, lease) for lease in leases]
        self._note_mode(listed["fleets"], listed["fleetplans"] or [])
        leader = Leader(identity, self._mode) if identity else None
        return Remains(tuple(objects), replicas, leader, missing)

    def _note_mode(self, fleets: list[dict[str, Any]] | None, plans: list[dict[str, Any]]) -> None:
        """With --all the first answer holds: later, what says it is deleted."""
        if self._mode is None or not self._order.everything:
            self._mode = mode_of(fleets or (), plans, is_fleet_installed=fleets is not None)

    async def _listed(self, plural: str) -> list[dict[str, Any]] | None:
        """The objects of a custom kind; None where the kind is not installed. Raises ActuationError."""
        if plural in USER_SPECS and not self._needs(plural):
            return []
        try:
            items, _ = await self._api.list(path_of(plural))
        except ActuationError as error:
            if error.obstacle is Obstacle.KIND_MISSING and plural in CUSTOM:
                return None
            raise
        return items

    def _needs(self, plural: str) -> bool:
        return self._order.everything or plural == "fleets"

    async def _election(self) -> tuple[list[dict[str, Any]], str]:
        """Argosy's Leases, and the identity of the operator that leads; empty where none does.

        A Lease is watched for as long as its holder may leave it unchanged, as other operators do: no
        clock of another machine decides whether it is fresh. Raises ActuationError.
        """
        while True:
            leases = [lease for lease in (await self._api.list(LEASES))[0] if _is_ours(lease)]
            held = [lease for lease in leases if _holder(lease) and not self._is_long_over(lease)]
            verdicts = {_holder(lease): self._is_renewed(lease) for lease in held}
            if identity := next((holder for holder, is_alive in verdicts.items() if is_alive), ""):
                return leases, identity
            if None not in verdicts.values():
                return leases, ""
            await self._clock.sleep(POLL_S)

    def _is_renewed(self, lease: Object) -> bool | None:
        """Whether its holder renews it; None as long as that is not known."""
        now_s, version = self._clock.monotonic_s(), str(lease["metadata"].get("resourceVersion"))
        key = str(lease["metadata"].get("namespace"))
        seen = self._leases.get(key)
        if seen is None or seen.version != version:
            seen = self._leases[key] = _Seen(version, now_s, is_alive=seen is not None)
        if now_s - seen.at_s > _duration_s(lease) + _LATE_S:
            return False
        return seen.is_alive or None

    def _is_long_over(self, lease: Object) -> bool:
        """Whether no operator can hold it, however far its clock is from the API server's."""
        renewed_s, server_s = seconds_of((lease.get("spec") or {}).get("renewTime")), self._api.server_time_s
        if renewed_s is None or server_s is None:
            return False
        return server_s - renewed_s > _duration_s(lease) + 2 * MOST_OFFSET_S


def _is_ours(lease: Object) -> bool:
    metadata = lease["metadata"]
    if LISTS_ENVOYS in (metadata.get("labels") or {}):
        return True
    return metadata["name"] == _LEASE_NAME and NONCE in (metadata.get("annotations") or {})


def _holder(lease: Object) -> str:
    """Of the election's Lease; a replica's own list of Envoys has none."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _duration_s(lease: Object) -> float:
    duration_s = (lease.get("spec") or {}).get("leaseDurationSeconds")
    return float(duration_s) if isinstance(duration_s, int | float) else LeaseSettings("").duration_s


def _explained(error: ActuationError) -> str:
    """Why a request failed, for a wait that goes on. Raises ActuationError where waiting is vain."""
    if error.next_step is NextStep.GIVE_UP or error.status in (401, 403):
        raise error
    return explanation(error)


def explanation(error: ActuationError) -> str:
    """The sentence, with what the user of a kubeconfig can do: the operator's own remedies are others."""
    if error.status == 403:
        return (
            f"{words(error)}: argosy down lists and deletes Deployments, ReplicaSets, PodDisruptionBudgets,"
            " Leases and objects of argosy.dev, and lists pods, in all namespaces; use an administrator's"
            " kubeconfig (--kubeconfig), or the account of charts/argosy/files/uninstall-rbac.yaml"
        )
    if error.status == 401:
        return f"{words(error)}: renew the credentials in the kubeconfig, or name another one by --kubeconfig"
    if error.status == 0:
        return f"{error}; start it, or name the kubeconfig of the right cluster by --kubeconfig"
    return str(error)
