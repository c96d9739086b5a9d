"""What users read while Argosy is removed: what will go, what is left and until when, what is gone.

Owns the sentences. Input: what is left, and what was removed. Output: text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from argosy.api.kinds import kind_of
from argosy.control.teardown.remains import ENGINES, MAKERS, RECORDS, USERS, Left, PodLeft, Remains

OVERDUE_AFTER_S = 15.0
"""A kubelet that is alive reports the end of a pod within seconds of its last instant."""
MOST_NAMED = 5

NOTHING = "nothing of Argosy's is left"


def intention(remains: Remains, *, everything: bool) -> str:
    """What would be removed, before the user agrees."""
    names = _named(kind_of(plural).name for plural in sorted(remains.missing))
    end = f" (of {names} nothing can be there: not installed)" if names else ""
    return _intention(remains, everything=everything) + end


def _intention(remains: Remains, *, everything: bool) -> str:
    parts = counted((*remains.of(ENGINES), *remains.of(RECORDS if remains.leader is None else RECORDS[:1])))
    if remains.pods:
        longest_s = max(pod.drain_s for pod in remains.pods)
        whose = "its" if len(remains.pods) == 1 else "their"
        ends = f"{_replicas(remains.pods)} once {whose} requests have finished, {longest_s:.0f} s at most"
        parts += f" and ends {ends}" if parts else ends
    if not everything:
        return f"removes {parts}; your own objects stay"
    users = remains.of(USERS)
    leader = remains.leader
    first = f"deletes {counted(users)}" if users else "finds none of your own objects"
    wait = ""
    if leader is not None and leader.removes_engines and remains.pods:
        wait = f", waits until the operator {leader.identity} has drained {_replicas(remains.pods)}"
    return f"{first}{wait}, and removes {parts}" if parts else f"{first}{wait}"


def is_empty(remains: Remains, *, everything: bool) -> bool:
    """Whether there is nothing to remove."""
    records = remains.of(RECORDS if remains.leader is None else RECORDS[:1])
    return not (remains.of(ENGINES) or records or remains.pods or (everything and remains.of(USERS)))


def waiting(remains: Remains, now_s: float, *, everything: bool) -> str:
    """What is left now, and until when."""
    pods = remains.pods
    overdue = [p for p in pods if p.ends_s is not None and p.ends_s + OVERDUE_AFTER_S < now_s]
    going = [p for p in pods if p.ends_s is not None and p not in overdue]
    parts = [_finishing(going)] if going else []
    parts += [_not_ended(overdue)] if overdue else []
    staying = [p for p in pods if p.ends_s is None]
    if staying:
        parts.append(_staying(staying, remains))
    users = remains.of(USERS) if everything else ()
    objects = (*users, *remains.of(ENGINES), *(r for r in remains.of(RECORDS) if r.is_going))
    if objects and not pods:
        parts.append(f"{counted(objects)} {_are(objects)} being deleted")
    return "; ".join(parts) or NOTHING


def timed_out(remains: Remains, now_s: float, limit_s: float, *, everything: bool) -> str:
    """What is left at the time-out, and what to do."""
    said = f"after {limit_s:.0f} s: {waiting(remains, now_s, everything=everything)}"
    blocked = [o for o in remains.objects if o.is_going]
    if blocked and not remains.pods:
        said += (
            f"; of these a finalizer may hold {_named(f'{kind_of(o.plural).name} {o.key}' for o in blocked)}"
        )
    return f"{said}. Run argosy down again, with a longer --timeout: it goes on from here"


def finished(removed: Iterable[Left], num_pods: int, remains: Remains) -> str:
    """What was removed, and what is left all the same."""
    gone = tuple(removed)
    parts = counted(gone)
    if num_pods:
        parts += f" with {_num(num_pods, 'replica')}" if parts else _num(num_pods, "replica")
    if remains.leader is None:
        end = NOTHING
    else:
        end = (
            f"{NOTHING} but what the operator {remains.leader.identity} writes while it runs, its Leases and"
            " FleetPlans: stop it, and run argosy down again"
        )
    return f"removed {parts}; {end}" if parts else end


def counted(items: Sequence[Left]) -> str:
    """ "2 Deployments, 1 Lease", in the order of the items; empty for none."""
    counts = Counter(item.plural for item in items)
    words = [_num(count, kind_of(plural).name) for plural, count in counts.items()]
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)


def _finishing(pods: Sequence[PodLeft]) -> str:
    latest_s = max(p.ends_s for p in pods if p.ends_s is not None)
    verb, whose = ("finishes", "its") if len(pods) == 1 else ("finish", "their")
    return f"{_replicas(pods)} {verb} {whose} requests, until {_clock(latest_s)} at the latest"


def _not_ended(pods: Sequence[PodLeft]) -> str:
    first = pods[0]
    node = f"its node {first.node}" if len(pods) == 1 and first.node else "their nodes"
    names = _named(f"{p.key} on {p.node}" if p.node else p.key for p in pods)
    return (
        f"{_replicas(pods)} should have ended by now ({names}): where {node} will not come back,"
        f" kubectl delete pod {first.key.name} -n {first.key.namespace} --force ends the wait"
    )


def _staying(pods: Sequence[PodLeft], remains: Remains) -> str:
    if remains.leader is not None and remains.leader.removes_engines:
        return (
            f"{_replicas(pods)} {_serve(pods)} until the operator {remains.leader.identity} drains"
            f" {'it' if len(pods) == 1 else 'them'}, after the grace of deleted objects"
        )
    made = {left.key for left in remains.of(MAKERS)}
    orphans = [p for p in pods if not made & {str(p.deployment), p.made_by}]
    if not orphans:
        return f"{_replicas(pods)} {_are(pods)} about to be ended"
    return (
        f"{_replicas(orphans)} without a Deployment ({_named(p.key for p in orphans)}): Kubernetes ends"
        " those that it owns within seconds; for others, kubectl delete replicasets,pods -n"
        f" {orphans[0].key.namespace} -l argosy.dev/deployment={orphans[0].deployment.name}"
    )


def _named(names: Iterable[str]) -> str:
    listed = [str(name) for name in names]
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return ", ".join(listed[:MOST_NAMED]) + more


def _replicas(pods: Sequence[PodLeft]) -> str:
    return _num(len(pods), "replica")


def _are(items: Sequence[object]) -> str:
    return "is" if len(items) == 1 else "are"


def _serve(items: Sequence[object]) -> str:
    return "serves" if len(items) == 1 else "serve"


def _num(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("s"):
        return f"{count} {noun}es"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S UTC")
