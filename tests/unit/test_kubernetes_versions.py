"""What Argosy writes, judged by the schemas of every Kubernetes version that it supports."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_calls import recorded
from builders import a_pool
from kubernetes_features import GATES, functions, needed_minor, obstacles, works
from kubernetes_schemas import OTHERS, pinned
from made_certificates import WANTED
from memory_api_server import MemoryApiServer
from schema_judge import VERSIONS, Staged, Verdict, judge, modules
from virtual_clock import EPOCH_S, VirtualClock, in_virtual_time, troubles_of
from virtual_shell import node_object

from argosy.api.kinds import WATCHED
from argosy.cli.cluster.reader import review
from argosy.control.decision import EventRecord
from argosy.control.survey.permissions import NEEDED
from argosy.keys import GroupName, ModelKey, NamespacedName
from argosy.kube.api import KindPath
from argosy.kube.secrets import CertificateSecrets
from argosy.kube.store import Store
from argosy.manifests import EngineWorkload
from argosy.reconcile.act import Actor
from argosy.reconcile.certificates.keeper import renew
from argosy.reconcile.envoy_leases import PERIOD_S, EnvoyLeases
from argosy.reconcile.leadership import Candidate, Leadership, LeaseSettings
from argosy.rollout.steps import (
    AdoptReplicaSet,
    CreateDeployment,
    MarkVictim,
    PlacePod,
    ProtectReplicas,
    ScaleDeployment,
    Step,
)
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.cluster import PLACEMENT_GATE
from argosy.snapshot.fleet import EnvoyState

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "argosy"
WARNINGS = CHART / "files" / "deletion-warnings.yaml"
FILES = [
    *sorted((ROOT / "crds").glob("*.yaml")),
    *sorted((CHART / "files").glob("*-rbac.yaml")),
    ROOT / "charts" / "kustomize" / "namespace.yaml",
    ROOT / "hack" / "kind" / "engine-rbac.yaml",
    ROOT / "hack" / "kind" / "load.yaml",
    ROOT / "sim" / "argosy_sim" / "livefleet" / "rbac.yaml",
]
"""Objects in files. What helm renders is judged in tests/contract, where helm is."""


class Recorder(MemoryApiServer):
    """Keeps what is written to it: the call, the kind and the body."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.written: list[tuple[str, str, Object, bool]] = []

    async def create(self, kind: KindPath, body: Object) -> Object:
        self._note(kind, "create", body)
        return await super().create(kind, body)

    async def apply(self, kind: KindPath, key: str, body: Object) -> Object:
        self._note(kind, "create", body)
        self._note(kind, "patch", body)
        return await super().apply(kind, key, body)

    async def patch(self, kind: KindPath, key: str, body: Mapping[str, Any], sub: str = "") -> Object:
        self._note(kind, "patch", dict(body), sub)
        return await super().patch(kind, key, body, sub)

    def _note(self, kind: KindPath, verb: str, body: Object, sub: str = "") -> None:
        group, _ = kind.kind.group_version
        path = "/".join(filter(None, (group, kind.plural, sub)))
        name = "autoscaling/v1 Scale" if sub == "scale" else f"{kind.kind.api_version} {kind.kind.name}"
        self.written.append((f"{path} {verb}", name, body, verb == "patch" and "kind" not in body))

    def verdicts(self, version: str) -> list[Verdict]:
        return [judge(body, version, patched=name if patch else "") for _, name, body, patch in self.written]


def workloads() -> list[EngineWorkload]:
    """Engines on one GPU and on two, placed by Argosy and by the scheduler, restarted by a user."""
    engine = EngineSettings(image="vllm:1", max_loras=2, args=("--trust-remote-code",), env=(("A", "1"),))
    variant = Variant(ModelKey("default/llama"), "meta/llama", ("llama",), "l40s", "L40S", 2, engine)
    tolerations = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    mine = EngineWorkload(variant, GroupName("default/chat"), a_pool(tolerations=tolerations))
    other = replace(mine, variant=replace(variant, tensor_parallel=1), pool=a_pool(placement="Scheduler"))
    return [mine, other, replace(mine, restarted_at="2026-01-01T00:00:00Z")]


async def act(server: Recorder, clock: VirtualClock) -> None:
    """Every write of a decision's steps, and an event about a custom resource of either scope."""
    store = Store(WATCHED)
    gates = [{"name": PLACEMENT_GATE}, {"name": "kueue.x-k8s.io/admission"}]
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"schedulingGates": gates}}
    about = {"gpupools": {"metadata": {"name": "l40s", "uid": "1"}}}
    about["servedmodels"] = {"metadata": {"name": "llama", "namespace": "default", "uid": "2"}}
    owned = {"metadata": {"name": "r", "namespace": "default"}}
    for plural, item in {"pods": pod, "nodes": node_object("l40s-0"), "replicasets": owned, **about}.items():
        store.put(plural, server.put(plural, item))
    actor = Actor(server, store, clock, troubles_of(clock), lambda: True)
    steps: list[Step] = [CreateDeployment(each, 2) for each in workloads()]
    first = workloads()[0].key
    steps += [ScaleDeployment(first, 3), ProtectReplicas(first, 3), PlacePod("default/p", "l40s-0")]
    steps += [MarkVictim("default/p", -100), MarkVictim("default/p", 0)]
    steps.append(AdoptReplicaSet(NamespacedName.of("default", "r"), {"argosy.dev/deployment": "m"}))
    for step in steps:
        await actor.take(step)
    await actor.post(
        [
            EventRecord("GPUPool", "l40s", "Normal", "Priced", "its price changed"),
            EventRecord("ServedModel", "default/llama", "Warning", "Refused", "no pool fits"),
        ]
    )


async def elect_and_exchange(server: Recorder, clock: VirtualClock) -> None:
    """The Lease of the election, made and renewed, and the one that lists Envoys."""
    troubles = troubles_of(clock)
    election = Leadership(server, clock, Candidate("me", "n"), LeaseSettings("argosy-system"), troubles)
    own = (EnvoyState("edge", "v1", stats_url="http://10.0.0.7:9902"),)
    leases = EnvoyLeases(server, clock, ("argosy-system", "me"), lambda: own, troubles)
    loops = [asyncio.create_task(election.run())]
    loops.append(asyncio.create_task(leases.run(lambda: None, lambda: True)))
    await clock.sleep(2 * PERIOD_S)
    for loop in loops:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


@in_virtual_time
async def test_every_write_of_the_operator_is_taken_by_every_version() -> None:
    server, clock = Recorder(), VirtualClock()
    await act(server, clock)
    await elect_and_exchange(server, clock)
    secrets = CertificateSecrets(server, "argosy-system", "argosy-xds")
    await renew(secrets, lambda held: WANTED, dt.datetime.fromtimestamp(EPOCH_S, dt.UTC))
    for version in VERSIONS:
        for verdict in server.verdicts(version):
            assert [*verdict.faults, *obstacles(verdict.staged)] == []
    writes = {c for c in recorded() if c.endswith((" create", " patch")) and "argosy.dev/" not in c}
    assert writes - {call for call, *_ in server.written} == set(), "judge these writes here, too"


@pytest.mark.parametrize("account", ["", "argosy-operator"])
def test_what_argosy_doctor_asks_is_taken_by_every_version(account: str) -> None:
    for permission in NEEDED:
        _, body = review(permission, "argosy-system", account)
        assert [fault for version in VERSIONS for fault in judge(body, version).faults] == []


def objects_in(file: Path) -> list[Object]:
    return [each for each in yaml.safe_load_all(file.read_text("utf-8")) if each is not None]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_object_in_a_file_is_taken_by_every_version(file: Path) -> None:
    in_warnings = [each["metadata"]["name"] for each in objects_in(WARNINGS)]
    for each in objects_in(file):
        for version in VERSIONS[1:] if each["metadata"].get("name") in in_warnings else VERSIONS:
            verdict = judge(each, version)
            assert [*verdict.faults, *obstacles(verdict.staged)] == []


def test_warnings_before_deletions_need_a_kind_that_1_29_does_not_have() -> None:
    for each in objects_in(WARNINGS):
        faults = {version: judge(each, version).faults for version in VERSIONS}
        assert [version for version, found in faults.items() if found] == ["1.29"]
        assert faults["1.29"] == [
            f"Kubernetes 1.29: admissionregistration.k8s.io/v1 {each['kind']}: there is no such kind"
        ]


def test_rules_of_custom_resources_are_understood_from_1_29() -> None:
    crds = [crd for file in (ROOT / "crds").glob("*.yaml") for crd in objects_in(file)]
    rules = [rule for crd in crds for rule in rules_in(crd)]
    assert len(rules) > 20
    for rule in rules:
        for expression in (rule["rule"], rule.get("messageExpression", "")):
            assert needed_minor(expression) <= 29, expression
    assert {key for rule in rules for key in rule} == {"rule", "message", "fieldPath"}


def rules_in(schema: Any) -> list[Object]:
    """Every rule of a custom resource's schema."""
    if isinstance(schema, list):
        return [rule for each in schema for rule in rules_in(each)]
    if not isinstance(schema, dict):
        return []
    own = schema.get("x-kubernetes-validations", [])
    return [*own, *(rule for each in schema.values() for rule in rules_in(each))]


def test_expressions_of_the_warnings_are_understood_from_1_30() -> None:
    rules = [rule for each in objects_in(WARNINGS) for rule in each["spec"].get("validations", ())]
    expressions = [rule[key] for rule in rules for key in ("expression", "messageExpression")]
    assert {name for each in expressions for name in functions(each)} == {"has", "string", "double", "format"}
    assert max(map(needed_minor, expressions)) == 30


@pytest.mark.parametrize(
    ("expression", "minor"),
    [
        ("self.a == self.b", 0),
        ("self.name.matches('^ip(a)$') && size(self.rows) > 0", 1),
        ("quantity(self.size).isLessThan(quantity('1Gi'))", None),
        ("isQuantity(self.size)", 29),
        ("'%d'.format([self.a])", 30),
        ("isIP(self.address)", 31),
        (r"self.a == 'it\'s' || self.a.startsWith(r'\(') || semver(self.version) == semver('1.0.0')", 34),
    ],
)
def test_an_expression_needs_the_version_after_the_one_that_brought_its_functions(
    expression: str, minor: int | None
) -> None:
    if minor is None:
        with pytest.raises(KeyError, match="isLessThan"):
            needed_minor(expression)
    else:
        assert needed_minor(expression) == minor


def test_schemas_are_those_of_the_charts_oldest_version_to_the_one_that_is_run() -> None:
    found = {version: source.split()[0] for version, source in modules().items()}
    assert found == pinned(), "another Kubernetes is pinned: run `make schemas`"
    for chart in (CHART, CHART / "charts" / "argosy-crds"):
        oldest = yaml.safe_load((chart / "Chart.yaml").read_text())["kubeVersion"]
        assert oldest == f">={VERSIONS[0]}.0-0"


def test_the_documentation_names_these_versions_and_every_field_that_needs_a_gate() -> None:
    text = (ROOT / "docs" / "install.md").read_text("utf-8")
    for name, _, _ in OTHERS:
        project, _, version = name.rpartition("/")[2].partition("@v")
        said = {"cert-manager": "cert-manager", "prometheus-operator": "Prometheus Operator"}[project]
        assert f"{said} {version.rpartition('.')[0]}" in " ".join(text.split())
    assert f"Tests run on {VERSIONS[-1]}. For {VERSIONS[0]} to {VERSIONS[-2]} they judge" in text
    words = {"PodSpec.schedulingGates": "scheduling gates", "JSONSchemaProps.x-kubernetes-validations": "CEL"}
    for field in GATES:
        assert words.get(field, f"`{field.partition('.')[2]}`") in text


def test_each_feature_that_needs_a_gate_has_it_in_every_version() -> None:
    assert {gate: [v for v in VERSIONS if not works(gate, v)] for gate in GATES.values()} == {
        gate: [] for gate in GATES.values()
    }
    assert not works("HPAScaleToZero", VERSIONS[-1])
    assert not works("TaintTolerationComparisonOperators", VERSIONS[0]), (
        "a gate that no version has listed yet"
    )


@pytest.mark.parametrize(
    ("name", "value", "is_fine"),
    [
        ("PodSpec.schedulingGates", "[]", True),
        ("HorizontalPodAutoscalerSpec.minReplicas", "2", True),
        ("HorizontalPodAutoscalerSpec.minReplicas", "0", False),
        ("Toleration.operator", "Gt", False),
        ("PodSpec.hostnameOverride", "a", False),
    ],
)
def test_a_field_of_a_stage_that_no_table_explains_is_reported(name: str, value: str, is_fine: bool) -> None:
    found = obstacles([Staged("1.34", name, value, "This is an alpha field.")])
    sentence = (
        f"Kubernetes 1.34: {name} = {value} is in no table of kubernetes_features: This is an alpha field."
    )
    assert found == ([] if is_fine else [sentence])


def a_budget(**spec: Any) -> Object:
    metadata = {"name": "b", "namespace": "default"}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}


def a_pod(**container: Any) -> Object:
    spec = {"containers": [{"name": "c", **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        pytest.param(a_budget(minAvailable="50%", maxUnavailable=1), None, id="a number or a word"),
        pytest.param(a_budget(minAvailible=1), ".spec.minAvailible: there is no such field", id="a typo"),
        pytest.param(a_budget(minAvailable=True), ".spec.minAvailable: True is no string", id="a truth"),
        pytest.param(a_budget(selector=[]), ".spec.selector: [] is no object", id="rows for an object"),
        pytest.param(a_pod(resources={"limits": {"cpu": 2, "memory": "1Gi"}}), None, id="a quantity"),
        pytest.param(
            a_pod(livenessProbe={"periodSeconds": 2**31}),
            "periodSeconds: 2147483648 needs more",
            id="too large",
        ),
        pytest.param(
            a_pod(ports=[{}]), ".spec.containers[0].ports[0]: containerPort is missing", id="missing"
        ),
        pytest.param(
            a_pod(ports=[{"containerPort": 1}, {"containerPort": 1}]),
            ".ports: rows of the same key",
            id="twice",
        ),
        pytest.param(
            {"apiVersion": "v1", "kind": "Secret", "data": {"a": "no base64"}},
            "'no base64' is no",
            id="base64",
        ),
        pytest.param(
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"renewTime": "now"}},
            ".spec.renewTime: 'now' is no time",
            id="a time",
        ),
        pytest.param(
            {"apiVersion": "apps/v1beta1", "kind": "Deployment"},
            "Deployment: there is no such kind",
            id="a kind",
        ),
        pytest.param(
            a_pod(lifecycle={"preStop": {"sleep": {"seconds": 1}}}), None, id="a field that 1.29 has already"
        ),
        pytest.param(
            a_pod(lifecycle={"stopSignal": "SIGUSR1"}), "stopSignal: there is no such field", id="one of 1.33"
        ),
    ],
)
def test_the_judge_of_1_29_finds(item: Object, fault: str | None) -> None:
    faults = judge(item, "1.29").faults
    assert len(faults) == (fault is not None), faults
    assert fault is None or fault in faults[0]


def test_a_field_of_1_29_that_does_nothing_there_is_found_by_the_gate_of_its_go_type() -> None:
    """Its description does not name the gate; Argosy does not use it."""
    pod = a_pod(lifecycle={"preStop": {"sleep": {"seconds": 1}}})
    [found] = obstacles(judge(pod, "1.29").staged)
    assert found.endswith("kubernetes_features: +featureGate=PodLifecycleSleepAction")
    assert (works("PodLifecycleSleepAction", "1.29"), works("PodLifecycleSleepAction", "1.30")) == (
        False,
        True,
    )


def test_schemas_within_custom_resources_are_judged_too() -> None:
    [crd] = objects_in(ROOT / "crds" / "argosy.dev_fleets.yaml")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["rows"] = {"type": "array", "items": {"kind": {}}}
    [fault] = judge(crd, "1.29").faults
    assert re.search(r"openAPIV3Schema\.properties\.spec\.properties\.rows\.items\.kind: there is no", fault)


def test_a_patch_may_leave_out_what_is_required() -> None:
    body = {"spec": {"containers": [{"image": "b"}], "$setElementOrder/containers": []}}
    assert judge(body, "1.36", patched="v1 Pod").faults == []
