"""What the statuses say where part of the picture is missing and planning goes on.

Owns the conditions of classes whose groups are kept as they are, of objects that cannot be read any
more and are used as they last could be, and of Fleet where something is not seen or waits. Input: a
snapshot and the statuses that follow from what is seen. Output: the statuses to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from argosy.api import CustomResource, Fleet, FleetPlan, GPUPool, InvalidObject, ServedModel, WorkloadClass
from argosy.api.conditions import ConditionStatus, ConditionType, Reason, find_condition
from argosy.api.crd.resource import ObjectMeta
from argosy.api.kinds import kind_named
from argosy.control.decision import StatusUpdate
from argosy.control.picture.set_aside import SetAside
from argosy.control.status.verdict import Verdict, dated
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.seen import ObjectRef, Seen

MOST_NAMED = 3
"""Objects that a sentence names; of more it gives the number."""


def remarked(
    snapshot: FleetSnapshot, updates: Iterable[StatusUpdate], kept: SetAside, waiting: str
) -> tuple[StatusUpdate, ...]:
    """`updates` and what is to be said besides. waiting: why a removal waits; empty where none does."""
    fleet = _fleet_remark(snapshot, waiting)
    unreadable = _unreadable(snapshot)
    found: list[StatusUpdate] = []
    for update in updates:
        ref = ObjectRef(update.kind, update.key)
        item = unreadable.get(ref)
        if item is not None and ref in snapshot.seen.outdated:
            # The second update of the object is what is said where no version of it can be used.
            if not any((other.kind, other.key) == ref for other in found):
                found.append(_last_readable(snapshot, update, item))
        elif item is not None and ref in snapshot.seen.absent:
            found.append(_kept_unread(snapshot, update, item))
        elif fleet is not None and update.kind == Fleet.PLURAL and snapshot.fleet is not None:
            found.append(_with_ready(snapshot, update, snapshot.fleet.metadata, fleet))
        else:
            found.append(update)
    return (*found, *_kept(snapshot, kept))


def ready_update(
    snapshot: FleetSnapshot, item: CustomResource, reason: Reason, sentence: str, *, stays: bool
) -> StatusUpdate:
    """Ready for this reason, other fields as they are.

    stays: True remains True, because the engines go on; otherwise it is Unknown
    """
    assert isinstance(item, Fleet | WorkloadClass | ServedModel | GPUPool)
    before = find_condition(item.status.conditions, ConditionType.READY)
    was_ready = before is not None and before.status is ConditionStatus.TRUE
    status = ConditionStatus.TRUE if was_ready and stays else ConditionStatus.UNKNOWN
    verdict = Verdict(ConditionType.READY, status, reason, sentence)
    conditions = dated(item.status.conditions, item.metadata, (verdict,), snapshot.now_s)
    body = item.status_type()(observed_generation=item.metadata.generation, conditions=conditions)
    return StatusUpdate(item.PLURAL, item.key, body)


def named(refs: Iterable[ObjectRef]) -> str:
    """The objects in a sentence."""
    every = sorted(map(str, refs))
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + more


def _kept(snapshot: FleetSnapshot, kept: SetAside) -> list[StatusUpdate]:
    """Ready of the classes whose groups are kept as they are."""
    found = []
    for key, missing in sorted(kept.classes.items()):
        sentence = Reason.OWNER_NOT_SEEN.sentence(missing=named(missing))
        item = snapshot.classes[key]
        found.append(ready_update(snapshot, item, Reason.OWNER_NOT_SEEN, sentence, stays=True))
    return found


def _fleet_remark(snapshot: FleetSnapshot, waiting: str) -> tuple[Reason, str] | None:
    """What Fleet says although all that is seen is ready."""
    if waiting:
        return Reason.REMOVAL_WAITS, Reason.REMOVAL_WAITS.sentence(problem=waiting)
    missing = {ref for ref in snapshot.seen.unseen if ref.plural != FleetPlan.PLURAL} | snapshot.seen.absent
    if missing:
        return Reason.OWNER_NOT_SEEN, Reason.OWNER_NOT_SEEN.sentence(missing=named(missing))
    return _unwatched(snapshot.seen)


def _unwatched(seen: Seen) -> tuple[Reason, str] | None:
    """The kinds whose watches fail, and why the first does: mostly one role lacks the verb for all."""
    failing = sorted((kind for kind in seen.kinds.values() if kind.unwatched), key=lambda kind: kind.plural)
    if not failing:
        return None
    kinds = ", ".join(kind.plural for kind in failing)
    problem = failing[0].unwatched
    return Reason.WATCH_FAILS, Reason.WATCH_FAILS.sentence(kinds=kinds, problem=problem)


def _with_ready(
    snapshot: FleetSnapshot, update: StatusUpdate, metadata: ObjectMeta, remark: tuple[Reason, str]
) -> StatusUpdate:
    """A status whose Ready gives this reason where it is True: what is not ready says why already."""
    ready = find_condition(update.status.conditions, ConditionType.READY)
    if ready is None or ready.status is not ConditionStatus.TRUE:
        return update
    verdict = Verdict(ConditionType.READY, ConditionStatus.TRUE, *remark)
    return _with_verdicts(snapshot, update, metadata, [verdict])


def _last_readable(snapshot: FleetSnapshot, update: StatusUpdate, item: InvalidObject) -> StatusUpdate:
    sentence = Reason.INVALID_SPEC.sentence(problem=item.message)
    accepted = Verdict(ConditionType.ACCEPTED, ConditionStatus.FALSE, Reason.INVALID_SPEC, sentence)
    shown = _with_verdicts(snapshot, update, item.metadata, [accepted])
    used = Reason.LAST_READABLE.sentence(problem=item.message)
    return _with_ready(snapshot, shown, item.metadata, (Reason.LAST_READABLE, used))


def _kept_unread(snapshot: FleetSnapshot, update: StatusUpdate, item: InvalidObject) -> StatusUpdate:
    """What runs for it goes on, so that True stays; otherwise it is not known."""
    before = find_condition(item.conditions, ConditionType.READY)
    is_true = before is not None and before.status is ConditionStatus.TRUE
    status = ConditionStatus.TRUE if is_true else ConditionStatus.UNKNOWN
    sentence = Reason.KEPT_UNREAD.sentence(problem=item.message)
    verdict = Verdict(ConditionType.READY, status, Reason.KEPT_UNREAD, sentence)
    return _with_verdicts(snapshot, update, item.metadata, [verdict])


def _with_verdicts(
    snapshot: FleetSnapshot, update: StatusUpdate, metadata: ObjectMeta, verdicts: list[Verdict]
) -> StatusUpdate:
    conditions = dated(update.status.conditions, metadata, verdicts, snapshot.now_s)
    return replace(update, status=update.status.model_copy(update={"conditions": conditions}))


def _unreadable(snapshot: FleetSnapshot) -> dict[ObjectRef, InvalidObject]:
    """The objects that cannot be read."""
    return {ObjectRef(kind_named(item.kind).plural, item.key): item for item in snapshot.invalid}
