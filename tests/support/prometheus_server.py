"""A real Prometheus beside the operator's stage, configured by the chart's own monitors and rules.

Owns the step that the Prometheus Operator takes: from a ServiceMonitor or a PodMonitor to a scrape
configuration. Pods are discovered from the stage's API server. Its Services have no endpoints, as an
EndpointSlice refuses loopback addresses: what would be discovered of them is stated, with its meta labels.
"""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from operator_stage import ANSWER_TIMEOUT_S, REPOSITORY, OperatorStage
from waiting import until

from argosy_sim.controlplane.binaries import prometheus
from argosy_sim.controlplane.host.ports import LOOPBACK, free_ports

Object = dict[str, Any]

FILES = REPOSITORY / "charts" / "argosy" / "files"
NAMESPACE = "argosy-system"
SYSTEM_LABELS = {"app.kubernetes.io/name": "argosy"}
GATE = "test.argosy.dev/never-scheduled"


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A running Prometheus."""

    url: str

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """The series of an instant query: labels and value."""
        rows = self._get(f"query?query={urllib.parse.quote(expr)}")["result"]
        rows = rows if isinstance(rows[0] if rows else {}, dict) else [{"metric": {}, "value": rows}]
        return [(row["metric"], float(row["value"][1])) for row in rows]

    def values(self, expr: str, label: str) -> dict[str, float]:
        """The same by the value of one label."""
        return {labels.get(label, ""): value for labels, value in self.query(expr)}

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self._get("alerts")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def rule_errors(self) -> dict[str, str]:
        """What went wrong when rules were evaluated, by the rule's name."""
        groups = self._get("rules")["groups"]
        return {r["name"]: r["lastError"] for g in groups for r in g["rules"] if r.get("lastError")}

    def targets(self) -> list[Object]:
        """What is scraped now: labels and health."""
        return list(self._get("targets?state=active")["activeTargets"])

    def is_ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=ANSWER_TIMEOUT_S) as answer:
            return bool(answer.status == 200)

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=ANSWER_TIMEOUT_S) as answer:
            return json.loads(answer.read())["data"]


@contextmanager
def running_prometheus(stage: OperatorStage, directory: Path) -> Iterator[PrometheusServer]:
    """Scrape the stage every two seconds and judge the chart's rules; their alerts fire at once."""
    (port,) = free_ports(1)
    directory.mkdir(parents=True, exist_ok=True)
    rules = directory / "rules.yaml"
    rules.write_text(yaml.safe_dump(at_once(yaml.safe_load((FILES / "rules" / "argosy.yaml").read_text()))))
    config = directory / "prometheus.yaml"
    config.write_text(yaml.safe_dump(configuration(stage, rules)))
    command = [str(prometheus().prometheus), f"--config.file={config}"]
    command += [f"--web.listen-address={LOOPBACK}:{port}", f"--storage.tsdb.path={directory / 'data'}"]
    server = PrometheusServer(f"http://{LOOPBACK}:{port}")
    with stand_ins(stage):
        stage.stage.launch("prometheus", [*command, "--log.level=warn"])
        try:
            until(server.is_ready, "Prometheus to be ready")
            yield server
        finally:
            stage.stage.end("prometheus")


def at_once(rules: Object) -> Object:
    """The rules with alerts that wait for nothing: their waiting is promtool's to judge."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return rules


def configuration(stage: OperatorStage, rules: Path) -> Object:
    """Prometheus's configuration."""
    texts = (FILES / "monitors.yaml").read_text().split("\n---\n")
    jobs = [scrape_config(stage, yaml.safe_load(text)) for text in texts]
    intervals = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    return {"global": intervals, "rule_files": [str(rules)], "scrape_configs": jobs}


def scrape_config(stage: OperatorStage, monitor: Object) -> Object:
    """What the Prometheus Operator makes of a monitor with one endpoint, but for its interval."""
    spec, is_pods = monitor["spec"], monitor["kind"] == "PodMonitor"
    (endpoint,) = spec["podMetricsEndpoints" if is_pods else "endpoints"]
    role = "pod" if is_pods else "service"
    port_label = "pod_container_port_name" if is_pods else "endpointslice_port_name"
    found: Object = {
        "job_name": f"{monitor['kind']}/{monitor['metadata']['name']}",
        "honor_labels": endpoint.get("honorLabels", False),
        "metrics_path": endpoint.get("path", "/metrics"),
        "relabel_configs": [
            *_selection(spec["selector"], role),
            {
                "action": "keep",
                "source_labels": [f"__meta_kubernetes_{port_label}"],
                "regex": endpoint["port"],
            },
            *_copied("namespace", "__meta_kubernetes_namespace"),
            *_copied("pod", "__meta_kubernetes_pod_name"),
            *(() if is_pods else _copied("service", "__meta_kubernetes_service_name")),
            {"target_label": "endpoint", "replacement": endpoint["port"]},
            *map(_relabeling, endpoint.get("relabelings", ())),
        ],
        "metric_relabel_configs": [_relabeling(each) for each in endpoint.get("metricRelabelings", ())],
    }
    if is_pods:
        namespaces = [] if spec.get("namespaceSelector", {}).get("any") else [NAMESPACE]
        discovery = {
            "role": "pod",
            "kubeconfig_file": str(stage.stage.control_plane.admin_kubeconfig),
            "namespaces": {"names": namespaces},
        }
        return {**found, "kubernetes_sd_configs": [discovery]}
    return {**found, "static_configs": [_of_service(stage)]}


def _of_service(stage: OperatorStage) -> Object:
    """The operators as the discovery of EndpointSlices shows those of the Service argosy."""
    labels = {**SYSTEM_LABELS, "app.kubernetes.io/component": "operator"}
    return {
        "targets": [operator.http_address for operator in stage.operators.values()],
        "labels": {
            "__meta_kubernetes_namespace": NAMESPACE,
            "__meta_kubernetes_service_name": "argosy",
            "__meta_kubernetes_endpointslice_port_name": "metrics",
            **{_meta("service_label", key): value for key, value in labels.items()},
        },
    }


def _selection(selector: Mapping[str, Any], role: str) -> Iterator[Object]:
    for key, value in selector["matchLabels"].items():
        yield {"action": "keep", "source_labels": [_meta(f"{role}_label", key)], "regex": value}
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "Exists", each
        yield {
            "action": "keep",
            "source_labels": [_meta(f"{role}_labelpresent", each["key"])],
            "regex": "true",
        }


def _meta(kind: str, key: str) -> str:
    """`__meta_kubernetes_pod_label_argosy_dev_pool` for `argosy.dev/pool`."""
    return f"__meta_kubernetes_{kind}_{re.sub(r'[^a-zA-Z0-9_]', '_', key)}"


def _copied(target: str, source: str) -> list[Object]:
    return [{"source_labels": [source], "target_label": target}]


def _relabeling(each: Mapping[str, Any]) -> Object:
    """A relabelling with the names of Prometheus's own file."""
    return {re.sub(r"([A-Z])", lambda m: f"_{m[1].lower()}", key): value for key, value in each.items()}


@contextmanager
def stand_ins(stage: OperatorStage) -> Iterator[None]:
    """Envoy's pod as a cluster has it, with its address: on the stage Envoy is a process without a pod."""
    host, _, port = stage.stage.envoy.stats_address.rpartition(":")
    labels = {**SYSTEM_LABELS, "app.kubernetes.io/component": "envoy"}
    ports = [{"name": "stats", "containerPort": int(port)}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "argosy-envoy", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "schedulingGates": [{"name": GATE}],
            "containers": [{"name": "envoy", "image": "none", "ports": ports}],
        },
    }
    stage.apply(pod)
    try:
        status = json.dumps({"status": {"phase": "Running", "podIP": host, "podIPs": [{"ip": host}]}})
        stage.kubectl("patch", "pod", "-n", NAMESPACE, "argosy-envoy", "--subresource=status", "-p", status)
        yield
    finally:
        stage.delete(pod)
