"""What the chart gives to the Prometheus Operator and to Grafana, where the cluster has their kinds."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from builders import a_pool
from charts import CHART, MONITORING_KINDS, WITH_MONITORING, Helm, named, pod_templates
from prometheus_server import FILES

from argosy.keys import GroupName, ModelKey
from argosy.manifests.deployment import EngineWorkload, pod_template
from argosy.snapshot import EngineSettings, Variant

MONITORS = {
    ("ServiceMonitor", "argosy-operator"),
    ("PodMonitor", "argosy-envoy"),
    ("PodMonitor", "argosy-engine"),
}

Object = dict[str, Any]


def monitoring(objects: list[Object]) -> set[tuple[str, str]]:
    return {(o["kind"], o["metadata"]["name"]) for o in objects if o["kind"] in MONITORING_KINDS}


def test_monitors_and_rules_are_made_where_the_cluster_has_their_kinds(helm: Helm) -> None:
    assert monitoring(helm.rendered()) == set()
    assert monitoring(helm.rendered(*WITH_MONITORING)) == {*MONITORS, ("PrometheusRule", "argosy")}
    assert monitoring(helm.rendered(*WITH_MONITORING, "--set", "monitoring.enabled=false")) == set()


@pytest.mark.parametrize("kind", MONITORING_KINDS)
def test_each_is_made_where_its_own_kind_is(kind: str, helm: Helm) -> None:
    """Other collectors bring some of these kinds and not the others."""
    found = monitoring(helm.rendered("--api-versions", f"monitoring.coreos.com/v1/{kind}"))
    assert {each for each, _ in found} == {kind}


def test_they_are_the_files_that_others_apply(helm: Helm) -> None:
    objects = helm.rendered(*WITH_MONITORING)
    for wanted in yaml.safe_load_all((FILES / "monitors.yaml").read_text()):
        assert named(objects, wanted["kind"], wanted["metadata"]["name"])["spec"] == wanted["spec"]
    rules = yaml.safe_load((FILES / "rules" / "argosy.yaml").read_text())
    assert named(objects, "PrometheusRule", "argosy")["spec"] == rules


def test_they_carry_the_labels_by_which_a_prometheus_chooses_them(helm: Helm) -> None:
    objects = helm.rendered(*WITH_MONITORING, "--set", "monitoring.labels.release=prometheus")
    for kind, name in monitoring(objects):
        labels = named(objects, kind, name)["metadata"]["labels"]
        assert labels["release"] == "prometheus"
        assert labels["app.kubernetes.io/name"] == "argosy"


def test_the_dashboard_is_a_config_map_that_grafana_finds(helm: Helm) -> None:
    found = named(helm.rendered(), "ConfigMap", "argosy-dashboards")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["argosy.json"]) == json.loads(
        (CHART / "files" / "dashboards" / "argosy.json").read_text()
    )
    without = helm.rendered("--set", "monitoring.dashboards.enabled=false")
    assert ("ConfigMap", "argosy-dashboards") not in {(o["kind"], o["metadata"]["name"]) for o in without}


def selects(monitor: Object, labels: dict[str, str]) -> bool:
    selector = monitor["spec"]["selector"]
    keys = {each["key"] for each in selector.get("matchExpressions", ()) if each["operator"] == "Exists"}
    return selector["matchLabels"].items() <= labels.items() and keys <= labels.keys()


def ports(pod: Object) -> set[str]:
    return {port["name"] for c in pod["spec"]["containers"] for port in c.get("ports", ())}


def test_each_monitor_selects_exactly_what_it_is_for(helm: Helm) -> None:
    objects = helm.rendered(*WITH_MONITORING)
    services = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Service"}
    pods = {**pod_templates(objects), "engine": engine_pod()}
    operator = named(objects, "ServiceMonitor", "argosy-operator")
    chosen = [s for s in services.values() if selects(operator, s["metadata"]["labels"])]
    assert [s["metadata"]["name"] for s in chosen] == ["argosy"]
    assert operator["spec"]["endpoints"][0]["port"] in {p["name"] for p in chosen[0]["spec"]["ports"]}
    for name, pod in (("argosy-envoy", "Deployment/argosy-envoy"), ("argosy-engine", "engine")):
        monitor = named(objects, "PodMonitor", name)
        assert [k for k, t in pods.items() if selects(monitor, t["metadata"]["labels"])] == [pod]
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports(pods[pod])


def engine_pod() -> Object:
    """The pod template of an engine, as the operator makes it."""
    key, engine = ModelKey("default/llama"), EngineSettings(image="vllm", port=8000)
    variant = Variant(key, "meta/llama", ("llama",), "l40s", "L40S", 1, engine)
    return pod_template(EngineWorkload(variant, GroupName("default/chat"), a_pool()))


@pytest.mark.parametrize("value", ["monitoring.enabled=perhaps", "monitoring.dashboard.enabled=true"])
def test_values_that_mean_nothing_are_refused(value: str, helm: Helm) -> None:
    assert "monitoring" in helm.refusal("template", "argosy", str(CHART), "--set", value)
