"""The Grafana dashboard of Argosy as data; `generate_monitoring` writes it as JSON.

Owns its rows and panels: what a fleet costs, whether each class keeps its SLO, what its replicas and Envoys
do, and how the operator is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from alert_rules import LEADS

HEIGHT, COLUMNS = 8, 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. unit: Grafana's name of it; queries: PromQL by legend; kind: `timeseries` or `stat`."""

    title: str
    unit: str
    queries: dict[str, str]
    description: str = ""
    kind: str = "timeseries"
    width: int = 8


ROWS: dict[str, tuple[Panel, ...]] = {
    "Cost": (
        Panel(
            "Cost now",
            "currencyUSD",
            {"running": "fleet:argosy_cost_usd_per_hour:sum"},
            "Per hour.",
            "stat",
            6,
        ),
        Panel(
            "Cost and budget per hour",
            "currencyUSD",
            {
                "running": "fleet:argosy_cost_usd_per_hour:sum",
                "planned": f"argosy_planned_cost_usd_per_hour {LEADS}",
                "budget": "max(argosy_budget_usd_per_hour)",
            },
            width=18,
        ),
        Panel(
            "By class",
            "currencyUSD",
            {"{{workload_class}}": "class:argosy_cost_usd_per_hour:sum"},
            "Per hour. Classes share the price of common replicas by their planned rates.",
        ),
        Panel("By model", "currencyUSD", {"{{model}}": "model:argosy_cost_usd_per_hour:sum"}, "Per hour."),
        Panel("By pool", "currencyUSD", {"{{pool}}": "pool:argosy_cost_usd_per_hour:sum"}, "Per hour."),
    ),
    "Promises": (
        Panel(
            "SLO burn rate, last hour",
            "short",
            {"{{workload_class}} {{term}} p{{quantile}}": "class_term:argosy_slo_burn:rate1h"},
            "Requests that missed a term over those that may: above 1, the SLO is missed.",
        ),
        Panel(
            "Kept the SLO, last five minutes",
            "percentunit",
            {"{{workload_class}}": "max by (workload_class) (argosy_class_attainment_ratio)"},
            "Smallest share over the terms of the SLO, at its lower end.",
        ),
        Panel(
            "Failed and refused",
            "reqps",
            {
                "{{workload_class}} {{reason}}": "max by (workload_class, reason)"
                " (rate(argosy_class_failed_requests_total[1m]))"
            },
        ),
        Panel(
            "Requests",
            "reqps",
            {
                "{{workload_class}}": "max by (workload_class) (rate(argosy_class_requests_total[1m]))",
                "{{workload_class}} planned": "max by (workload_class) (argosy_demand_requests_per_second)",
            },
        ),
        Panel(
            "TTFT p95",
            "s",
            {
                "{{workload_class}}": "max by (workload_class)"
                ' (argosy_class_latency_seconds{term="ttft",quantile="0.95"})'
            },
        ),
        Panel(
            "ITL p95",
            "s",
            {
                "{{workload_class}}": "max by (workload_class)"
                ' (argosy_class_latency_seconds{term="itl",quantile="0.95"})'
            },
        ),
        Panel(
            "Ready replicas",
            "short",
            {"{{workload_class}}": "max by (workload_class) (argosy_class_replicas_ready)"},
        ),
        Panel(
            "Unserved by the plan",
            "percentunit",
            {"{{workload_class}}": "max by (workload_class) (argosy_class_unserved_ratio)"},
        ),
        Panel(
            "Waiting in engines",
            "short",
            {"{{workload_class}}": "max by (workload_class) (argosy_class_waiting_requests)"},
        ),
    ),
    "Engines": (
        Panel(
            "Running requests",
            "short",
            {"{{pool}} {{pod}}": 'vllm:num_requests_running{job="argosy-engine"}'},
        ),
        Panel(
            "KV cache in use",
            "percentunit",
            {"{{pool}} {{pod}}": 'vllm:kv_cache_usage_perc{job="argosy-engine"}'},
        ),
        Panel(
            "Output tokens",
            "short",
            {"{{pool}}": 'sum by (pool) (rate(vllm:generation_tokens_total{job="argosy-engine"}[1m]))'},
            "Per second.",
        ),
    ),
    "Envoy": (
        Panel(
            "Arrivals",
            "reqps",
            {
                "{{instance}}": "sum by (instance) (rate(envoy_http_downstream_rq_total"
                '{job="argosy-envoy",envoy_http_conn_manager_prefix="gateway"}[1m]))'
            },
        ),
        Panel(
            "Connected to the operator",
            "short",
            {"{{instance}}": 'envoy_control_plane_connected_state{job="argosy-envoy"}'},
        ),
        Panel("Envoys known to the operator", "short", {"{{instance}}": "argosy_envoys_connected"}),
    ),
    "Operator": (
        Panel("Leaders", "short", {"leaders": "sum(argosy_is_leader)"}, "One is right.", "stat", 6),
        Panel("Revision", "short", {"revision": "max(argosy_applied_revision)"}, "", "stat", 6),
        Panel(
            "Firing",
            "short",
            {
                "{{alertname}}": "sum by (alertname)"
                ' (ALERTS{alertname=~"Argosy.*",alertstate="firing"}) or vector(0)'
            },
            "Alerts of Argosy.",
            "timeseries",
            12,
        ),
        Panel(
            "Duration of a decision, p95",
            "s",
            {"p95": "histogram_quantile(0.95, sum by (le) (rate(argosy_iteration_seconds_bucket[5m])))"},
        ),
        Panel("Lost of sight", "short", {"{{what}}": "max by (what) (argosy_blind)"}),
        Panel("Silent engines", "short", {"silent": "max(argosy_silent_endpoints)"}),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; its data source is chosen by a variable."""
    return {
        "uid": "argosy",
        "title": "Argosy",
        "tags": ["argosy"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
            ]
        },
        "panels": list(_placed()),
    }


def _placed() -> Iterable[dict[str, Any]]:
    """Rows one below the other, panels from left to right."""
    y, number = 0, 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "gridPos": _position(0, y, COLUMNS, 1),
            "panels": [],
        }
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + HEIGHT
            number += 1
            yield _panel(number, panel, _position(x, y, panel.width, HEIGHT))
            x += panel.width
        y += HEIGHT


def _position(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(number: int, panel: Panel, position: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
        for i, (legend, expr) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
