"""The chart's alerts and recording rules, judged by promtool: each alert fires when it should, else not."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_rules import BURNS, COSTS, WINDOWS, alerts, groups
from dashboard import COLUMNS, ROWS, dashboard

from argosy.reconcile.metrics import Metrics
from argosy_sim.controlplane.binaries import Prometheus, prometheus

RULES = Path(__file__).parents[2] / "charts" / "argosy" / "files" / "rules" / "argosy.yaml"
CLASS = '{workload_class="default/chat"}'
TERM = '{workload_class="default/chat",term="ttft",quantile="0.99"}'

NUM = 200
"""Samples of each series: more than any test looks at."""
MINUTES = 30
"""After so long the cases are looked at: longer than any alert waits."""

Series = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A world in which an alert fires, and one like it in which it does not, in promtool's notation."""

    alert: str
    broken: Series
    well: Series


def requests(per_min: float, errors: float = 0, refused: float = 0, late: float = 0, step: int = 1) -> Series:
    """Counters of a class at these rates per minute, a sample every `step` minutes."""
    answers = max(0.0, per_min - errors - refused)
    rates = {
        f"argosy_class_requests_total{CLASS}": per_min,
        'argosy_class_failed_requests_total{workload_class="default/chat",reason="error"}': errors,
        'argosy_class_failed_requests_total{workload_class="default/chat",reason="refused"}': refused,
        f"argosy_slo_answers_total{TERM}": answers,
        f"argosy_slo_late_answers_total{TERM}": late,
    }
    counted = {name: f"0+{rate * step:g}x{NUM}" for name, rate in rates.items()}
    return {**counted, f"argosy_slo_budget_ratio{TERM}": f"0.01x{NUM}"}


def steady(name: str, value: float = 1) -> Series:
    return {name: f"{value:g}x{NUM}"}


def led(name: str, value: float, leads: float = 1) -> Series:
    """A gauge of a process that leads or not."""
    return {**steady(f'{name}{{instance="a"}}', value), **steady('argosy_is_leader{instance="a"}', leads)}


LEADER = steady('argosy_is_leader{instance="a"}')

CASES = (
    Case("ArgosySloBurnsFast", requests(60, late=12), requests(60, late=3)),
    # All requests fail: no latency is measured at all.
    Case("ArgosySloBurnsFast", requests(60, errors=60), requests(0)),
    # One late answer of three: too few to tell.
    Case("ArgosySloBurnsFast", requests(60, refused=12), requests(0.1, late=0.03)),
    Case("ArgosyRequestsFail", requests(60, errors=4), requests(60, errors=2, refused=10)),
    Case("ArgosyRequestsFail", requests(60, errors=4), requests(2, errors=0.5)),
    Case("ArgosyRequestsRefused", requests(60, refused=2), requests(60, errors=30)),
    Case(
        "ArgosyDemandUnserved",
        steady(f"argosy_class_unserved_ratio{CLASS}", 0.2),
        steady(f"argosy_class_unserved_ratio{CLASS}", 0),
    ),
    Case(
        "ArgosyClassWithoutReplica",
        {
            **steady(f"argosy_class_replicas_ready{CLASS}", 0),
            **steady(f"argosy_demand_requests_per_second{CLASS}"),
        },
        {
            **steady(f"argosy_class_replicas_ready{CLASS}", 0),
            **steady(f"argosy_demand_requests_per_second{CLASS}", 0),
        },
    ),
    *(
        Case(
            alert,
            steady(f'argosy_blind{{what="{what}"}}'),
            {**steady(f'argosy_blind{{what="{what}"}}', 0), **steady('argosy_blind{what="other"}')},
        )
        for alert, what in (
            ("ArgosyTelemetryLost", "telemetry"),
            ("ArgosyEnvoysLost", "envoys"),
            ("ArgosyPlanNotApplied", "plan"),
        )
    ),
    Case(
        "ArgosyEnvoyDown",
        steady('up{job="argosy-envoy",instance="a"}', 0),
        {**steady('up{job="argosy-envoy",instance="a"}'), **steady('up{job="other"}', 0)},
    ),
    Case(
        "ArgosyEnvoyDisconnected",
        steady('envoy_control_plane_connected_state{job="argosy-envoy",instance="a"}', 0),
        steady('envoy_control_plane_connected_state{job="of-another-mesh",instance="a"}', 0),
    ),
    Case(
        "ArgosyOperatorDown",
        steady('up{job="argosy-operator",instance="a"}', 0),
        {
            **steady('up{job="argosy-operator",instance="a"}', 0),
            **steady('up{job="argosy-operator",instance="b"}'),
        },
    ),
    Case(
        "ArgosyNoLeader",
        {**steady('argosy_is_leader{instance="a"}', 0), **steady('argosy_is_leader{instance="b"}', 0)},
        {**steady('argosy_is_leader{instance="a"}', 0), **steady('argosy_is_leader{instance="b"}')},
    ),
    Case(
        "ArgosyClockOff",
        steady('argosy_clock_offset_seconds{instance="a"}', -20),
        steady('argosy_clock_offset_seconds{instance="a"}', 2),
    ),
    Case(
        "ArgosyTwoLeaders",
        {**steady('argosy_is_leader{instance="a"}'), **steady('argosy_is_leader{instance="b"}')},
        {**steady('argosy_is_leader{instance="a"}'), **steady('argosy_is_leader{instance="b"}', 0)},
    ),
    Case(
        "ArgosyCostOverBudget",
        {
            **steady('argosy_running_cost_usd_per_hour{workload_class="a",model="m",pool="p"}', 6),
            **steady('argosy_running_cost_usd_per_hour{workload_class="b",model="m",pool="p"}', 6),
            **steady("argosy_budget_usd_per_hour", 10),
        },
        # The same at two processes, while the leadership changes: it is not paid twice.
        {
            **steady('argosy_running_cost_usd_per_hour{workload_class="a",model="m",pool="p",pod="x"}', 6),
            **steady('argosy_running_cost_usd_per_hour{workload_class="a",model="m",pool="p",pod="y"}', 6),
            **steady("argosy_budget_usd_per_hour", 10),
        },
    ),
    Case(
        "ArgosyEnginesSilent", led("argosy_silent_endpoints", 2), led("argosy_silent_endpoints", 2, leads=0)
    ),
    Case(
        "ArgosyStreamsCut",
        {'argosy_streams_cut_total{model="default/llama"}': "0x20 3x40"},
        {'argosy_streams_cut_total{model="default/llama"}': "3x60"},
    ),
    Case(
        "ArgosyPictureInDoubt",
        led("argosy_picture_in_doubt", 1),
        led("argosy_picture_in_doubt", 1, leads=0),
    ),
    Case(
        "ArgosyFails",
        steady('argosy_failing{activity="leader election"}'),
        steady('argosy_failing{activity="leader election"}', 0),
    ),
    Case(
        "ArgosyWatchFails",
        steady('argosy_watch_failing{kind="pods"}'),
        steady('argosy_watch_failing{kind="pods"}', 0),
    ),
    Case("ArgosyRemovalWaits", led("argosy_removal_waits", 1), led("argosy_removal_waits", 0)),
    Case("ArgosyFleetMissing", led("argosy_fleet_missing", 1), led("argosy_fleet_missing", 0)),
    Case(
        "ArgosyReplicasRefused",
        {**steady('argosy_refused_variants{instance="a",refuser="LimitRange"}'), **LEADER},
        {**steady('argosy_refused_variants{instance="a",refuser="LimitRange"}', 0), **LEADER},
    ),
    Case("ArgosyFieldsContested", led("argosy_contested_fields", 2), led("argosy_contested_fields", 0)),
    Case(
        "ArgosyEnvoysRefused",
        steady("argosy_envoy_connections_refused", 3),
        steady("argosy_envoy_connections_refused", 0),
    ),
    Case(
        "ArgosyCertificateExpires",
        steady('argosy_certificate_expiry_seconds{certificate="server"}', 86400),
        steady('argosy_certificate_expiry_seconds{certificate="server"}', 30 * 86400),
    ),
)


@pytest.fixture(scope="module")
def tools() -> Prometheus:
    return prometheus()


def firing(alert: str, minutes: int, fires: bool, labels: str = "") -> dict[str, Any]:
    """promtool's test of whether an alert fires at a time."""
    expr = f'clamp_max(count(ALERTS{{alertname="{alert}",alertstate="firing"{labels}}}), 1)'
    samples = [{"labels": "{}", "value": 1}] if fires else []
    return {"expr": expr, "eval_time": f"{minutes}m", "exp_samples": samples}


def metric_of(series: str) -> str:
    return series.partition("{")[0]


def fit(world: Series, more: Series) -> bool:
    """Whether both may be in one world: of a metric that both have, they have the same series."""
    names = {metric_of(each) for each in world} & {metric_of(each) for each in more}
    of_both = [{k: v for k, v in each.items() if metric_of(k) in names} for each in (world, more)]
    return of_both[0] == of_both[1]


def worlds(fires: bool) -> list[dict[str, Any]]:
    """All cases in few worlds, as promtool takes its time for each."""
    found: list[tuple[dict[str, str], list[str]]] = []
    for case in CASES:
        series = case.broken if fires else case.well
        place = next((each for each in found if fit(each[0], series)), None)
        if place is None:
            place = ({}, [])
            found.append(place)
        place[0].update(series)
        place[1].append(case.alert)
    return [world(series, [firing(name, MINUTES, fires) for name in names]) for series, names in found]


def world(series: Series, checks: list[dict[str, Any]], step_minutes: int = 1) -> dict[str, Any]:
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": f"{step_minutes}m", "input_series": inputs, "promql_expr_test": checks}


def judge(tools: Prometheus, directory: Path, interval: str, tests: list[dict[str, Any]]) -> None:
    """Run promtool's tests; its own words where one fails."""
    file = directory / "tests.yaml"
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": interval,
        # Else promtool takes any order: alerts would then look at what was recorded an interval ago.
        "group_eval_order": [group["name"] for group in groups()],
        "tests": tests,
    }
    file.write_text(yaml.safe_dump(document))
    answer = subprocess.run(
        [tools.promtool, "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_promtool_accepts_the_rules(tools: Prometheus) -> None:
    command = [tools.promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    num_rules = len(WINDOWS) * 2 + len(COSTS) + len(alerts())
    assert f"{num_rules} rules found" in answer.stdout


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} | {"ArgosySloBurnsSlowly"} == {alert.name for alert in alerts()}


def test_each_alert_fires_when_its_thing_is_broken_and_not_when_it_is_not(
    tools: Prometheus, tmp_path: Path
) -> None:
    judge(tools, tmp_path, "1m", [*worlds(fires=True), *worlds(fires=False)])


PAIRS = {"1h": (1, "ArgosySloBurnsFast"), "6h": (5, "ArgosySloBurnsFast")}
PAIRS |= {"1d": (20, "ArgosySloBurnsSlowly"), "3d": (60, "ArgosySloBurnsSlowly")}
"""Minutes between samples, and the alert, by the long window."""


@pytest.mark.parametrize(("severity", "long", "rate"), [(each[0], each[1], each[3]) for each in BURNS])
def test_each_pair_of_windows_fires_above_its_burn_rate(
    tools: Prometheus, tmp_path: Path, severity: str, long: str, rate: float
) -> None:
    step, alert = PAIRS[long]
    tests = []
    for factor, fires in ((1.4, True), (0.7, False)):
        series = requests(60, late=60 * 0.01 * rate * factor, step=step)
        check = firing(alert, 120 * step, fires, f',long_window="{long}",severity="{severity}"')
        tests.append(world(series, [check], step))
    judge(tools, tmp_path, f"{step}m", tests)


def test_an_alert_names_class_term_and_window_in_words(tools: Prometheus, tmp_path: Path) -> None:
    labels = {"workload_class": "default/chat", "term": "ttft", "quantile": "0.99"}
    fast = next(each for each in alerts() if each.name == "ArgosySloBurnsFast")
    summary = (
        "WorkloadClass default/chat: 20 times as many requests as its SLO allows missed ttft p0.99 over 1h"
    )
    expected = {
        "exp_labels": {**labels, "severity": "critical", "long_window": "1h"},
        "exp_annotations": {"summary": summary, "remedy": fast.remedy},
    }
    other = {
        "exp_labels": {**labels, "severity": "critical", "long_window": "6h"},
        "exp_annotations": {**expected["exp_annotations"], "summary": summary.replace("1h", "6h")},
    }
    check = {"alertname": fast.name, "eval_time": "30m", "exp_alerts": [expected, other]}
    judged = {**world(CASES[0].broken, []), "alert_rule_test": [check]}
    judge(tools, tmp_path, "1m", [judged])


def test_costs_add_up_by_class_model_and_pool(tools: Prometheus, tmp_path: Path) -> None:
    name = "argosy_running_cost_usd_per_hour"
    series = {
        f'{name}{{workload_class="a",model="m",pool="p"}}': "1x5",
        f'{name}{{workload_class="b",model="m",pool="q"}}': "2x5",
        f'{name}{{workload_class="b",model="n",pool="q"}}': "4x5",
    }
    wanted = {
        "fleet:argosy_cost_usd_per_hour:sum": {"{}": 7},
        "class:argosy_cost_usd_per_hour:sum": {'{workload_class="a"}': 1, '{workload_class="b"}': 6},
        "model:argosy_cost_usd_per_hour:sum": {'{model="m"}': 3, '{model="n"}': 4},
        "pool:argosy_cost_usd_per_hour:sum": {'{pool="p"}': 1, '{pool="q"}': 6},
    }
    checks = [
        {
            "expr": record,
            "eval_time": "3m",
            "exp_samples": [
                {"labels": record + ("" if labels == "{}" else labels), "value": v}
                for labels, v in values.items()
            ],
        }
        for record, values in wanted.items()
    ]
    judge(tools, tmp_path, "1m", [world(series, checks)])


METRIC = re.compile(r"\b(?<!:)(argosy_\w+)\b(?!:)")


def test_rules_and_dashboard_use_only_metrics_that_the_operator_has() -> None:
    """A metric that was renamed would silence an alert."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    known = {
        family.name + suffix
        for family in Metrics().registry.collect()
        for suffix in suffixes.get(family.type, ("",))
    }
    queries = [alert.expr for alert in alerts()] + list(COSTS.values())
    queries += [expr for panels in ROWS.values() for panel in panels for expr in panel.queries.values()]
    used = {name for query in queries for name in METRIC.findall(query)}
    assert used - known == set()
    assert len(used) > 15


def test_every_panel_has_a_title_a_place_and_no_place_is_taken_twice() -> None:
    panels = dashboard()["panels"]
    cells = [
        (x, y)
        for p in panels
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < COLUMNS
    assert len({p["title"] for p in panels}) == len(panels)
