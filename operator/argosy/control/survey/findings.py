"""What is wrong with an installation, the worst first: `argosy doctor`'s answer.

Input: an `Installation`. Output: `Finding`s, each with its remedy. A pure function: what was looked at, and
when, is the reader's business.
"""

from __future__ import annotations

from collections.abc import Iterator

from argosy.api.conditions import ConditionType, Reason, find_condition
from argosy.api.fleet import Mode
from argosy.control.survey.definitions import definition_findings
from argosy.control.survey.installation import Finding, Installation, Severity
from argosy.control.survey.objects import (
    autoscaled_findings,
    condition_findings,
    metrics_findings,
    object_findings,
)
from argosy.control.survey.refused import refused_findings
from argosy.control.survey.traffic import engine_findings, traffic_findings

MOST_CLOCK_OFFSET_S = 10.0
"""Ages of readings are judged in tens of seconds; the operator does not lead beyond a minute."""

RBAC_FILE = "charts/argosy/files/operator-rbac.yaml"
MOST_PERMISSIONS = 4
"""Permissions that a finding names; of more, it gives the number."""

_ORDER = (Severity.BROKEN, Severity.WARNING, Severity.HINT)


def findings(found: Installation) -> tuple[Finding, ...]:
    """Everything that is wrong, the worst first; within a severity causes before what follows of them."""
    every = (
        *definition_findings(found),
        *_unread(found),
        *_permissions(found),
        *_leader(found),
        *_clock(found),
        *_envoys(found),
        *_fleet(found),
        *_held(found),
        *object_findings(found),
        *condition_findings(found),
        *autoscaled_findings(found),
        *metrics_findings(found),
        *refused_findings(found.snapshot),
        *engine_findings(found.snapshot),
        *traffic_findings(found.snapshot),
    )
    return tuple(each for severity in _ORDER for each in every if each.severity is severity)


def _unread(found: Installation) -> Iterator[Finding]:
    for plural, why in sorted(found.unread.items()):
        yield Finding(
            Severity.WARNING,
            plural,
            f"they could not be listed, so nothing is known of them here: {why}",
            "run argosy doctor with a kubeconfig that may list them (--kubeconfig)",
        )


def _permissions(found: Installation) -> Iterator[Finding]:
    account = found.account or "the account of this kubeconfig"
    if found.unreviewed:
        yield Finding(
            Severity.HINT,
            account,
            f"its permissions could not be looked at: {found.unreviewed}",
            "run argosy doctor as an administrator",
        )
    if found.denied:
        denied = sorted(found.denied)
        more = f" and {len(denied) - MOST_PERMISSIONS} more" if len(denied) > MOST_PERMISSIONS else ""
        named = ", ".join(map(str, denied[:MOST_PERMISSIONS]))
        yield Finding(
            Severity.BROKEN,
            account,
            f"it may not {named}{more}, which the operator needs",
            f"give it the permissions of {RBAC_FILE} (kubectl apply --server-side -f {RBAC_FILE})",
        )


def _leader(found: Installation) -> Iterator[Finding]:
    about = f"namespace {found.namespace}"
    if not found.has_namespace:
        yield Finding(
            Severity.BROKEN,
            about,
            "it does not exist, so no operator can lead in it",
            f"create it (kubectl create namespace {found.namespace}), or name the operator's by --namespace",
        )
        return
    if found.has_leader:
        return
    lease, start = found.lease, "start it (helm install, or argosy operator run)"
    logs = f"read its log (kubectl -n {found.namespace} get pods; kubectl -n {found.namespace} logs POD)"
    if lease is None:
        what, remedy = "no operator has led yet: there is no Lease argosy-operator", f"{start}; else {logs}"
    elif not lease.holder:
        what, remedy = "no operator leads: the last one released the Lease argosy-operator", start
    else:
        what, remedy = f"no operator leads: {lease.holder} does not renew the Lease argosy-operator", logs
    yield Finding(
        Severity.BROKEN, about, f"{what}. Nothing is planned; Envoys serve what they have", f"{remedy}"
    )


def _clock(found: Installation) -> Iterator[Finding]:
    now_s, lease = found.snapshot.now_s, found.lease
    ahead_s = lease.renewed_s - now_s if lease is not None and lease.renewed_s is not None else 0.0
    if found.has_leader and lease is not None and abs(ahead_s) > MOST_CLOCK_OFFSET_S:
        yield _off(f"operator {lease.holder}", ahead_s)
    if found.clock_offset_s is not None and abs(found.clock_offset_s) > MOST_CLOCK_OFFSET_S:
        yield _off("this machine", found.clock_offset_s)


def _off(about: str, ahead_s: float) -> Finding:
    direction = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        Severity.WARNING,
        about,
        f"its clock is {abs(ahead_s):.0f} s {direction} the API server's; an operator that is off by more"
        " than 60 s does not lead",
        "set both clocks by NTP",
    )


def _envoys(found: Installation) -> Iterator[Finding]:
    snapshot = found.snapshot
    if not found.has_leader or snapshot.routing.envoys:
        return
    if snapshot.classes:
        yield Finding(
            Severity.BROKEN,
            "Envoys",
            "none is connected to the operator, so no request is served by what it decides",
            "start one with the configuration that argosy envoy bootstrap prints; if one runs, compare the"
            " address in its bootstrap with the operator's --xds-address",
        )


def _fleet(found: Installation) -> Iterator[Finding]:
    snapshot = found.snapshot
    mode = snapshot.fleet_spec.mode
    if snapshot.fleet is None and ("fleets" in found.unread or found.definitions.get("fleets", {}) is None):
        return
    if snapshot.fleet is None:
        kept = snapshot.last_fleet_spec is not None
        yield Finding(
            Severity.WARNING if kept else Severity.HINT,
            "Fleet default",
            f"there is none{' any more' if kept else ''}: {'the last one' if kept else 'every default'}"
            f" holds, with spec.mode {mode}",
            "apply one (examples/small/fleet.yaml)",
        )
    elif mode is not Mode.AUTO:
        does, remedy = _MODES[mode]
        yield Finding(Severity.HINT, "Fleet default", f"spec.mode is {mode}: Argosy {does}", remedy)


_MODES = {
    Mode.OBSERVE: ("plans nothing", "set spec.mode to Auto"),
    Mode.RECOMMEND: (
        "acts on plans that users approve",
        "approve the latest (argosy plans, argosy approve), or set spec.mode to Auto",
    ),
}

_HELD = {
    Reason.PAUSED: Severity.HINT,
    Reason.ROLLED_BACK: Severity.HINT,
    Reason.APPROVAL_WAITS: Severity.HINT,
    Reason.HOLD_REFUSED: Severity.WARNING,
}


def _held(found: Installation) -> Iterator[Finding]:
    """What a user holds, or has to approve."""
    fleet = found.snapshot.fleet
    current = find_condition(fleet.status.conditions, ConditionType.PLAN_CURRENT) if fleet else None
    if current is not None and current.reason in _HELD:
        remedy = "argosy approve" if current.reason == Reason.APPROVAL_WAITS else "argosy resume"
        yield Finding(_HELD[Reason(current.reason)], "Fleet default", current.message, remedy)
