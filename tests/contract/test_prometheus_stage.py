"""A real Prometheus, configured by the chart's monitors and rules, beside operator, Envoy and engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from operator_stage import OperatorStage, names, until, until_equal
from prometheus_server import FILES, PrometheusServer, running_prometheus
from stage_rest import CLASSES

DASHBOARD = json.loads((FILES / "dashboards" / "argosy.json").read_text())
QUERIES = [
    (f"{panel['title']}: {target['legendFormat']}", target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
CHAT_ENGINES = 'vllm:num_requests_running{job="argosy-engine",sharing_group="chat"}'


def test_prometheus_finds_what_the_chart_names_and_the_operator_plans_with_what_it_reads(
    stage: OperatorStage, tmp_path: Path
) -> None:
    budget = {"budgetUsdPerHour": 100}
    stage.patch("fleet", "default", **budget)
    try:
        with running_prometheus(stage, tmp_path) as prometheus, stage.load(rate_per_s=6.0) as load:
            engines = [*names(stage.pods("chat")), *names(stage.pods("scholar"))]
            until_equal(sorted(engines), lambda: scraped(prometheus, "argosy-engine"), "every engine")
            until_equal(["argosy-envoy"], lambda: scraped(prometheus, "argosy-envoy"), "Envoy")
            until(lambda: prometheus.query('up{job="argosy-operator"} == 1'), "the operator")
            reads_as_the_leader(stage, prometheus)
            every_panel_shows_something(prometheus)
            costs_are_those_of_the_fleet(stage, prometheus)
            series_of_a_pod_that_is_gone_end(stage, prometheus)
        assert load.lost == ()
        assert prometheus_errors(stage) == ""
    finally:
        stage.patch("fleet", "default", budgetUsdPerHour=None)


def scraped(prometheus: PrometheusServer, job: str) -> list[str]:
    """Pods whose target is up, by name."""
    return sorted(prometheus.values(f'up{{job="{job}"}} == 1', "pod"))


def prometheus_errors(stage: OperatorStage) -> str:
    """Warnings of Prometheus about its configuration, rules and samples."""
    return "\n".join(line for line in stage.log("prometheus").splitlines() if "level=ERROR" in line)


def reads_as_the_leader(stage: OperatorStage, prometheus: PrometheusServer) -> None:
    """A standby that reads only Prometheus counts requests and answers, as the leader does that asks all."""
    standby = stage.start_operator(
        next(iter(stage.xds_ports.keys() - {stage.holder()})), "--prometheus", prometheus.url
    )
    for name in (
        'argosy_class_requests_total{workload_class="default/chat"}',
        'argosy_slo_answers_total{quantile="0.95",term="ttft",workload_class="default/chat"}',
    ):
        until(lambda name=name: standby.metric(name) > 5, f"{name} of the standby")
    until_equal(0, lambda: standby.metric('argosy_blind{what="telemetry"}'), "telemetry to be seen")
    stage.end_operator(standby.name)


def every_panel_shows_something(prometheus: PrometheusServer) -> None:
    def empty() -> list[str]:
        return [title for title, expr in QUERIES if not prometheus.query(expr)]

    until_equal([], empty, "a value in every panel")
    assert prometheus.rule_errors() == {}


def costs_are_those_of_the_fleet(stage: OperatorStage, prometheus: PrometheusServer) -> None:
    def fleet_cost() -> float:
        fleets = stage.items("/apis/argosy.dev/v1alpha1/fleets")
        return float(fleets[0]["status"]["costUsdPerHour"])

    for by in ("class", "model", "pool"):
        sums = f"sum({by}:argosy_cost_usd_per_hour:sum)"
        until(lambda sums=sums: abs(prometheus.query(sums)[0][1] - fleet_cost()) < 1e-3, sums)

    def by_class_agrees() -> bool:
        told = {f"default/{n}": stage.class_of(n)["status"]["costUsdPerHour"] for n in ("chat", "scholar")}
        read = prometheus.values("class:argosy_cost_usd_per_hour:sum", "workload_class")
        # What an earlier test deleted may be draining still, and cost something.
        return {name: read.get(name) for name in told} == pytest.approx(told) and min(told.values()) > 0

    until(by_class_agrees, "the costs that the classes' statuses have")
    assert set(prometheus.values("class_term:argosy_slo_burn:rate1h", "workload_class")) <= CLASSES


def series_of_a_pod_that_is_gone_end(stage: OperatorStage, prometheus: PrometheusServer) -> None:
    gone = names(stage.pods("chat"))[0]
    assert gone in prometheus.values(CHAT_ENGINES, "pod")
    stage.kubectl("delete", "pod", gone, "--wait=false")

    def successors() -> list[str]:
        return sorted(prometheus.values(CHAT_ENGINES, "pod"))

    until(lambda: gone not in successors(), f"the series of {gone} to end")
    until(lambda: successors() == names(stage.ready_pods("chat")), "the series of its successor")


def test_alerts_fire_when_the_thing_is_broken_and_end_when_it_is_mended(
    stage: OperatorStage, tmp_path: Path
) -> None:
    hasty = a_hasty_class(stage)
    try:
        with running_prometheus(stage, tmp_path) as prometheus:
            until(lambda: prometheus.query("fleet:argosy_cost_usd_per_hour:sum"), "the rules to be judged")
            until_equal(set(), prometheus.firing, "no alert")
            # No replica can keep this class's SLO, so that its requests fail.
            stage.apply(hasty)
            with stage.load(rate_per_s=10.0, headers={"x-argosy-class": "hasty"}):
                broken = {"ArgosyDemandUnserved", "ArgosySloBurnsFast", "ArgosyRequestsFail"}
                until(lambda: broken <= prometheus.firing(), f"{broken}")
            burning = prometheus.values('ALERTS{alertname="ArgosySloBurnsFast"}', "workload_class")
            assert burning.keys() == {"default/hasty"}
            stage.delete(hasty)
            # The budget is less than what runs, and nothing may be removed.
            stage.patch("fleet", "default", mode="Recommend", budgetUsdPerHour=1)
            until(lambda: "ArgosyCostOverBudget" in prometheus.firing(), "the budget's alert")
            stage.patch("fleet", "default", mode="Auto", budgetUsdPerHour=None)
            # Its rate of failures stays in the window of five minutes.
            mended = (broken | {"ArgosyCostOverBudget"}) - {"ArgosyRequestsFail"}
            until(lambda: not mended & prometheus.firing(), f"{mended} to end")
            stage.leader.kill()
            lost = {"ArgosyOperatorDown", "ArgosyEnvoyDisconnected"}
            until(lambda: lost <= prometheus.firing(), f"{lost}")
            stage.kill_envoy()
            until(lambda: "ArgosyEnvoyDown" in prometheus.firing(), "Envoy's alert")
            assert prometheus.rule_errors() == {}
    finally:
        stage.delete(hasty)
        stage.patch("fleet", "default", mode="Auto", budgetUsdPerHour=None)


def a_hasty_class(stage: OperatorStage) -> dict[str, Any]:
    """A class of chat's model whose SLO no replica can keep."""
    chat = stage.class_of("chat")
    item = {key: chat[key] for key in ("apiVersion", "kind", "spec")}
    item["metadata"] = {"name": "hasty", "namespace": "default"}
    match = {"headers": [{"name": "x-argosy-class", "value": "hasty"}]}
    item["spec"] |= {"match": match, "slo": {"ttft": {"p95Milliseconds": 1}}}
    return item
