"""The recording rules and alerts of Argosy as data; `generate_monitoring` writes them as YAML.

Owns every alert: when it fires, how urgent it is, and what to do. Those of SLOs compare burn rates over two
windows each (multi-window, multi-burn-rate: Google's SRE workbook, chapter 5, for a period of 30 days).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CRITICAL, WARNING = "critical", "warning"
LEADS = "and on (instance) (argosy_is_leader == 1)"
"""A process that led before shows the gauges of its last decision until it ends."""

CLASS_TERM = "workload_class, term, quantile"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
BURNS = (
    # severity, long window, short window, burn rate, for
    (CRITICAL, "1h", "5m", 14.4, "2m"),
    (CRITICAL, "6h", "30m", 6, "5m"),
    (WARNING, "1d", "2h", 3, "15m"),
    (WARNING, "3d", "6h", 1, "1h"),
)
LEAST_MISSED = 10
"""Requests that must have missed the SLO in the long window: one late answer of three is no burn."""

CLOCK_OFFSET_S = 10
"""Less may be the time that an answer took: the operator reports no less either."""

LEAST_FAILED = 5
"""Requests that must have failed, or been refused, within five minutes."""

CLASS = "WorkloadClass {{ $labels.workload_class }}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. summary: what is wrong; remedy: what to do, in one sentence."""

    name: str
    severity: str
    expr: str
    lasts: str
    summary: str
    remedy: str
    labels: tuple[tuple[str, str], ...] = ()

    def rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasts,
            "labels": {"severity": self.severity, **dict(self.labels)},
            "annotations": {"summary": self.summary, "remedy": self.remedy},
        }


def groups() -> list[dict[str, Any]]:
    """All groups of rules."""
    recorded = [
        rule
        for window in WINDOWS
        for rule in (
            {"record": f"class_term:argosy_slo_miss:ratio_rate{window}", "expr": _missed(window)},
            {"record": f"class_term:argosy_slo_burn:rate{window}", "expr": _burn(window)},
        )
    ]
    return [
        {"name": "argosy-cost", "rules": [{"record": r, "expr": e} for r, e in COSTS.items()]},
        {"name": "argosy-slo", "rules": recorded},
        {"name": "argosy-slo-alerts", "rules": [alert.rule() for alert in slo_alerts()]},
        {"name": "argosy-alerts", "rules": [alert.rule() for alert in ALERTS]},
    ]


def alerts() -> tuple[Alert, ...]:
    """All alerts, the most important group first."""
    return (*slo_alerts(), *ALERTS)


_RUNNING = "max by (workload_class, model, pool) (argosy_running_cost_usd_per_hour)"
COSTS = {
    "fleet:argosy_cost_usd_per_hour:sum": f"sum({_RUNNING})",
    "class:argosy_cost_usd_per_hour:sum": f"sum by (workload_class) ({_RUNNING})",
    "model:argosy_cost_usd_per_hour:sum": f"sum by (model) ({_RUNNING})",
    "pool:argosy_cost_usd_per_hour:sum": f"sum by (pool) ({_RUNNING})",
}


def _missed(window: str) -> str:
    """The share of a class's requests that missed a term: late, failed or refused. Nothing without requests.

    Where no answer was measured, only failures count: a class that answers nothing has missed all.
    """
    answers = f"sum by ({CLASS_TERM}) (rate(argosy_slo_answers_total[{window}]))"
    late = f"sum by ({CLASS_TERM}) (rate(argosy_slo_late_answers_total[{window}]))"
    return (
        f"1 - (1 - (\n  {late}\n  / ({answers} > 0)\n  or 0 * {answers}\n))"
        f" * on (workload_class) group_left () (1 -\n  {_failed(window)})"
    )


def _failed(window: str, reason: str = "") -> str:
    chosen = f'{{reason="{reason}"}}' if reason else ""
    # Requests count when they arrive and errors when they end: at a window's edge there may be more of these.
    return (
        f"clamp_max(sum by (workload_class) (rate(argosy_class_failed_requests_total{chosen}[{window}]))"
        f"\n  / (sum by (workload_class) (rate(argosy_class_requests_total[{window}])) > 0), 1)"
    )


def _many_failed(reason: str, share: float) -> str:
    """More than a share (0-1) of the requests of five minutes, and more than a few."""
    counted = f'increase(argosy_class_failed_requests_total{{reason="{reason}"}}[5m])'
    return (
        f"{_failed('5m', reason)} > {share}\n"
        f"  and on (workload_class) max by (workload_class) ({counted}) > {LEAST_FAILED}"
    )


def _burn(window: str) -> str:
    budget = f"max by ({CLASS_TERM}) (argosy_slo_budget_ratio)"
    return f"class_term:argosy_slo_miss:ratio_rate{window} / on ({CLASS_TERM}) {budget}"


def slo_alerts() -> tuple[Alert, ...]:
    """One alert per severity; each has two pairs of windows."""
    return tuple(_burn_alert(*each) for each in BURNS)


def _burn_alert(severity: str, long: str, short: str, rate: float, lasts: str) -> Alert:
    burn, requests = "class_term:argosy_slo_burn:rate", "argosy_class_requests_total"
    num_missed = (
        f"class_term:argosy_slo_miss:ratio_rate{long}"
        f" * on (workload_class) group_left () max by (workload_class) (increase({requests}[{long}]))"
    )
    return Alert(
        "ArgosySloBurnsFast" if severity == CRITICAL else "ArgosySloBurnsSlowly",
        severity,
        f"{burn}{long} > {rate} and {burn}{short} > {rate}\n  and {num_missed} > {LEAST_MISSED}",
        lasts,
        f"{CLASS}: {{{{ $value | humanize }}}} times as many requests as its SLO allows missed"
        f" {{{{ $labels.term }}}} p{{{{ $labels.quantile }}}} over {long}",
        "Read Ready of the class (kubectl describe wclass): it says whether replicas are missing, requests"
        " are refused or engines are slower than planned, and what remedies it.",
        (("long_window", long),),
    )


ALERTS = (
    Alert(
        "ArgosyRequestsFail",
        CRITICAL,
        _many_failed("error", 0.05),
        "2m",
        f"{CLASS}: {{{{ $value | humanizePercentage }}}} of its requests are answered with a 5xx",
        "Read Ready of the class and kubectl get pods -l argosy.dev/sharing-group: engines crash, are silent"
        " or are missing; the log of Envoy names the replica of each failed request.",
    ),
    Alert(
        "ArgosyRequestsRefused",
        WARNING,
        _many_failed("refused", 0.01),
        "5m",
        f"{CLASS}: {{{{ $value | humanizePercentage }}}} of its requests are refused with 429",
        "More requests arrive than the planned replicas can answer in time: read the reasons of the FleetPlan"
        " (budget, full pool, replica limit), and add nodes, raise the limit, or lower others' priority.",
    ),
    Alert(
        "ArgosyDemandUnserved",
        WARNING,
        "max by (workload_class) (argosy_class_unserved_ratio) > 0",
        "5m",
        f"{CLASS}: the plan does not serve {{{{ $value | humanizePercentage }}}} of its requests",
        "Read Ready of the class: it names the cause (no variant, full pool, budget, replica limit, no nodes)"
        " and what would serve the rest.",
    ),
    Alert(
        "ArgosyClassWithoutReplica",
        CRITICAL,
        "max by (workload_class) (argosy_class_replicas_ready) == 0\n"
        "  and on (workload_class) max by (workload_class) (argosy_demand_requests_per_second) > 0",
        "5m",
        f"{CLASS}: no replica is ready",
        "Read Ready of the class and kubectl describe pod of its replicas: they wait for a node, load, or"
        " crash.",
    ),
    Alert(
        "ArgosyTelemetryLost",
        CRITICAL,
        'max(argosy_blind{what="telemetry"}) == 1',
        "1m",
        "The operator cannot read any engine, or any Envoy",
        "Plans keep the last rates: check that NetworkPolicies let the operator reach the engines' and"
        " Envoys' ports, or, with --prometheus, that Prometheus answers.",
    ),
    Alert(
        "ArgosyEnvoysLost",
        CRITICAL,
        'max(argosy_blind{what="envoys"}) == 1',
        "1m",
        "Every Envoy that was connected to the operator is gone",
        "Requests may have no entrance: check the Envoy pods, then that they reach the ADS port of the"
        " operator and that their certificates are valid.",
    ),
    Alert(
        "ArgosyPlanNotApplied",
        CRITICAL,
        'max(argosy_blind{what="plan"}) == 1',
        "1m",
        "No decision has been carried out for two minutes",
        "Read /readyz or the log of the leader: it names the permission, the object or the API server's"
        " error.",
    ),
    Alert(
        "ArgosyEnvoyDown",
        WARNING,
        'up{job="argosy-envoy"} == 0',
        "2m",
        "Envoy {{ $labels.instance }} does not answer to Prometheus",
        "Look at its pod; if it runs, check that the port of its statistics can be reached from Prometheus.",
    ),
    Alert(
        "ArgosyEnvoyDisconnected",
        WARNING,
        'min by (instance, pod) (envoy_control_plane_connected_state{job="argosy-envoy"}) == 0',
        "5m",
        "Envoy {{ $labels.instance }} is not connected to the operator",
        "It serves its last routes and learns of no new replica: check the operator's pods, their"
        " /readyz/ads, and the certificates of both.",
    ),
    Alert(
        "ArgosyOperatorDown",
        CRITICAL,
        'absent(up{job="argosy-operator"} == 1)',
        "5m",
        "No replica of the operator answers to Prometheus",
        "Engines and Envoys go on with the last plan, and nothing is scaled or replaced: look at the"
        " operator's pods and their log.",
    ),
    Alert(
        "ArgosyNoLeader",
        CRITICAL,
        "max(argosy_is_leader) == 0",
        "2m",
        "The operator runs, and no replica of it leads",
        "Read /readyz of each replica: it names what holds it (the Lease's permission or namespace, a clock"
        " that is off, another process with its identity).",
    ),
    Alert(
        "ArgosyClockOff",
        WARNING,
        f"max by (instance, pod) (abs(argosy_clock_offset_seconds)) > {CLOCK_OFFSET_S}",
        "5m",
        "The clock of {{ $labels.instance }} is {{ $value | humanizeDuration }} off the API server's",
        "Set the clocks of its node and of the API server's by NTP: ages and waits are misjudged by as much,"
        " and a process that is more than a minute off does not lead.",
    ),
    Alert(
        "ArgosyTwoLeaders",
        CRITICAL,
        "sum(argosy_is_leader) > 1",
        "1m",
        "{{ $value }} processes lead at once",
        "Two installations share a cluster: stop the one that should not run (kubectl get lease -A names the"
        " namespaces).",
    ),
    Alert(
        "ArgosyCostOverBudget",
        WARNING,
        "fleet:argosy_cost_usd_per_hour:sum > max(argosy_budget_usd_per_hour)",
        "15m",
        "The running replicas cost ${{ $value | humanize }} per hour, more than spec.budgetUsdPerHour of"
        " Fleet",
        "Read Progressing and the reasons of the FleetPlan: replicas drain, are kept for a class that cannot"
        " be planned, or the mode lets nothing be removed.",
    ),
    Alert(
        "ArgosyEnginesSilent",
        WARNING,
        f"(argosy_silent_endpoints > 0) {LEADS}",
        "5m",
        "{{ $value }} engines have fallen silent and were not replaced",
        "Read the events of the ServedModels (EngineFellSilent names pod and node) and Ready of the GPUPool:"
        " the node is dead, or there is no room for a successor.",
    ),
    Alert(
        "ArgosyStreamsCut",
        WARNING,
        "max by (model) (increase(argosy_streams_cut_total[15m])) > 0",
        "0m",
        "ServedModel {{ $labels.model }}: requests still ran when their replica's drain ended",
        "Raise spec.engine.drainSeconds of the model above the duration of its longest answers.",
    ),
    Alert(
        "ArgosyPictureInDoubt",
        WARNING,
        f"(argosy_picture_in_doubt == 1) {LEADS}",
        "10m",
        "The last plan is kept, because part of the cluster is not seen",
        "Read the condition of Fleet with the reason PictureIncomplete: it names kind, permission or CRD.",
    ),
    Alert(
        "ArgosyFails",
        WARNING,
        "max by (activity) (argosy_failing) > 0",
        "10m",
        "The operator fails in: {{ $labels.activity }}",
        "Read /readyz and the log of the operator's replicas: the sentence names the object, permission or"
        " kind, or that the API server does not answer, with the remedy; it goes on trying.",
    ),
    Alert(
        "ArgosyWatchFails",
        WARNING,
        "max by (kind) (argosy_watch_failing) > 0",
        "10m",
        "A watch of the operator fails (kind {{ $labels.kind }}): changes are found late",
        "Read /readyz of the operator's replicas: it names the kind, and the verb that is not allowed or the"
        " API server's error.",
    ),
    Alert(
        "ArgosyRemovalWaits",
        WARNING,
        f"(argosy_removal_waits == 1) {LEADS}",
        "15m",
        "A large removal of replicas waits for a second look",
        "Read the event RemovalWaits of Fleet: if the removal is wanted, delete or edit the objects it names;"
        " otherwise restore what is missing.",
    ),
    Alert(
        "ArgosyFleetMissing",
        WARNING,
        f"(argosy_fleet_missing == 1) {LEADS}",
        "5m",
        "Fleet/default does not exist, and the settings of the last one hold",
        "Apply Fleet/default again; status.fleet of the applied FleetPlan has its last spec.",
    ),
    Alert(
        "ArgosyFieldsContested",
        WARNING,
        f"(argosy_contested_fields > 0) {LEADS}",
        "15m",
        "Another client keeps changing {{ $value }} fields of Argosy's Deployments",
        "Read the event FieldContested: it names the client (a GitOps tool, a script); let it leave"
        " these Deployments alone.",
    ),
    Alert(
        "ArgosyReplicasRefused",
        WARNING,
        f"(argosy_refused_variants > 0) {LEADS}",
        "15m",
        "The cluster ({{ $labels.refuser }}) refuses the replicas of {{ $value }} variants",
        "Read Ready of the ServedModels (kubectl describe smodel): it names the object that refuses and what"
        " remedies it; other hardware serves meanwhile where it can.",
    ),
    Alert(
        "ArgosyEnvoysRefused",
        WARNING,
        "max(argosy_envoy_connections_refused) > 0",
        "5m",
        "{{ $value }} TLS connections to the operator were refused in half a minute",
        "An Envoy has no certificate, one that has ended, or one of another authority: its log has the reason"
        " (TLS_error); compare its Secret or files with the operator's.",
    ),
    Alert(
        "ArgosyCertificateExpires",
        CRITICAL,
        "min by (certificate) (argosy_certificate_expiry_seconds) < 3 * 86400",
        "10m",
        "The certificate {{ $labels.certificate }} ends in {{ $value | humanizeDuration }}",
        "The leader renews certificates long before: read its log and /readyz, which name the Secret or the"
        " file that could not be written or read.",
    ),
)
