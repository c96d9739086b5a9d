"""The chart as helm renders it, without a cluster: golden files, what agrees, and values that are refused.

Regenerate the golden files with ARGOSY_REGENERATE=1.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import generate_chart
import pytest
import yaml
from charts import (
    CHART,
    NAMESPACE,
    REPOSITORY,
    WITH_CERT_MANAGER,
    Helm,
    named,
    pod_templates,
    values,
)
from typer.testing import CliRunner

from argosy.cli.app import build

GOLDEN = REPOSITORY / "tests" / "golden" / "chart"
FILES = ("default", "everything", "edge", "own-envoys")
CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


APPLIED_FILES = ("operator-rbac", "deletion-warnings", "uninstall-rbac", "certificates-rbac")
"""Of the chart's files, those that are objects as they are."""


def from_file(name: str) -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((CHART / "files" / f"{name}.yaml").read_text())
    return [each for each in documents if each and each["kind"] != "Namespace"]


def without_content(rendered: dict[str, Any]) -> dict[str, Any]:
    """An object of those files by its name alone: another test compares it with its file."""
    named_by = (rendered["kind"], rendered["metadata"]["name"])
    in_files = {(o["kind"], o["metadata"]["name"]) for file in APPLIED_FILES for o in from_file(file)}
    names = ("apiVersion", "kind", "metadata")
    return {key: rendered[key] for key in names} if named_by in in_files else rendered


@pytest.mark.parametrize("name", FILES)
def test_helm_finds_nothing_to_improve(name: str, helm: Helm) -> None:
    said = helm.said("lint", "--strict", str(CHART), *values(name))
    assert re.findall(r"^\[(?!INFO).*", said, re.MULTILINE) == []


@pytest.mark.parametrize("name", FILES)
def test_the_objects_are_those_of_the_golden_file(name: str, helm: Helm) -> None:
    # Both are files of their own.
    left_out = {("CustomResourceDefinition", None), ("ConfigMap", "argosy-dashboards")}
    objects = [
        without_content(o)
        for o in helm.rendered(*values(name))
        if not left_out & {(o["kind"], None), (o["kind"], o["metadata"]["name"])}
    ]
    found = yaml.safe_dump_all(objects, sort_keys=False, width=110)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("ARGOSY_REGENERATE"):
        golden.write_text(found)
    assert found == golden.read_text(), "run with ARGOSY_REGENERATE=1 and read the difference"


def test_every_object_is_in_the_namespace_of_the_release(helm: Helm) -> None:
    objects = helm.rendered(*values("everything"), namespace="elsewhere")
    in_namespace = [o for o in objects if o["kind"] not in CLUSTER_SCOPED]
    assert {o["metadata"].get("namespace") for o in in_namespace} == {"elsewhere"}
    assert NAMESPACE not in yaml.safe_dump_all(
        [o for o in objects if o["kind"] != "CustomResourceDefinition"]
    )


@pytest.mark.parametrize("name", FILES)
def test_pods_pass_their_own_selectors_budgets_and_policies(name: str, helm: Helm) -> None:
    objects = helm.rendered(*values(name))
    templates = pod_templates(objects)
    labels = [t["metadata"]["labels"] for t in templates.values()]
    for each in objects:
        spec = each.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector") or {}
        selector = selector.get("matchLabels", selector)
        if each["kind"] in {"Deployment", "DaemonSet", "Service", "PodDisruptionBudget", "NetworkPolicy"}:
            selected = [own for own in labels if selector.items() <= own.items()]
            assert len(selected) == 1, f"{each['kind']} {each['metadata']['name']} selects {len(selected)}"


def test_the_pod_of_helm_test_passes_policies_that_name_others(helm: Helm) -> None:
    objects = helm.rendered(*values("everything"))
    labels = pod_templates(objects)["Pod/argosy-test"]["metadata"]["labels"]
    for policy, port in (("argosy-operator", "metrics"), ("argosy-envoy", "gateway")):
        rules = named(objects, "NetworkPolicy", policy)["spec"]["ingress"]
        [peers] = [rule["from"] for rule in rules if rule["ports"] == [{"port": port}]]
        selectors = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
        assert [each for each in selectors if each.items() <= labels.items()]


@pytest.mark.parametrize("file", APPLIED_FILES)
def test_permissions_and_warnings_are_those_of_the_file_that_others_apply(file: str, helm: Helm) -> None:
    objects = helm.rendered("--set", "uninstall.removeEverything=true")
    for wanted in from_file(file):
        found = named(objects, wanted["kind"], wanted["metadata"]["name"])
        for part in ("spec", "rules", "roleRef", "subjects"):
            assert found.get(part) == wanted.get(part)


@pytest.mark.parametrize("namespace", [NAMESPACE, "elsewhere"])
@pytest.mark.parametrize("has_tls", [True, False], ids=["mutual TLS", "plain text"])
def test_envoys_start_with_what_argosy_envoy_bootstrap_writes(
    namespace: str, has_tls: bool, helm: Helm, tmp_path: Path
) -> None:
    objects = helm.rendered("--set", f"certificates.enabled={str(has_tls).lower()}", namespace=namespace)
    config = dict(named(objects, "ConfigMap", "argosy-envoy")["data"])
    assert config.pop("drain.sh") == (CHART / "files" / "envoy-drain.sh").read_text()
    flags = ["--node-id=argosy-envoy", f"--ads=argosy.{namespace}.svc:18000", "--stats-address=0.0.0.0:9902"]
    flags += [f"--directory={tmp_path}", "--seen-at=/etc/argosy"]
    if has_tls:
        kinds = {"cert": "tls.crt", "key": "tls.key", "ca": "ca.crt"}
        flags += [f"--tls-{flag}=/etc/argosy-tls/{file}" for flag, file in kinds.items()]
    assert CliRunner().invoke(build(), ["envoy", "bootstrap", *flags]).exit_code == 0
    written = {file.name: yaml.safe_load(file.read_text()) for file in tmp_path.iterdir()}
    assert {name: yaml.safe_load(text) for name, text in config.items()} == written
    mounts = mounted(objects, "Deployment/argosy-envoy")
    assert mounts["/etc/argosy"] == {"configMap": {"name": "argosy-envoy"}}
    assert mounts.get("/etc/argosy-tls", {}).get("secret", {}).get("secretName") == (
        "argosy-xds-envoy" if has_tls else None
    )


def mounted(objects: list[dict[str, Any]], workload: str) -> dict[str, dict[str, Any]]:
    """What the only container of a workload sees, by path: the volume's source."""
    spec = pod_templates(objects)[workload]["spec"]
    volumes = {volume["name"]: {k: v for k, v in volume.items() if k != "name"} for volume in spec["volumes"]}
    [container] = spec["containers"]
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}


@pytest.mark.parametrize(
    ("settings", "renews"),
    [("certificates.issuer.name=corporate", False), ("certificates.enabled=true", True)],
    ids=["cert-manager", "the leader"],
)
def test_operators_ask_for_certificates_and_one_party_renews_them(
    settings: str, renews: bool, helm: Helm
) -> None:
    objects = helm.rendered(*WITH_CERT_MANAGER, "--set", settings)
    [container] = pod_templates(objects)["Deployment/argosy-operator"]["spec"]["containers"]
    flags = dict(arg.split("=", 1) for arg in container["args"] if "=" in arg)
    secret = mounted(objects, "Deployment/argosy-operator")["/etc/argosy-tls"]["secret"]
    assert secret == {"secretName": "argosy-xds-server", "optional": True}, "nothing depends on the order"
    assert [flags[f"--xds-tls-{each}"] for each in ("cert", "key", "ca")] == [
        f"/etc/argosy-tls/{file}" for file in ("tls.crt", "tls.key", "ca.crt")
    ]
    assert flags.get("--certificates") == ("argosy-xds" if renews else None)


def test_a_job_or_cert_manager_makes_the_certificates_for_the_host_that_envoys_connect_to(helm: Helm) -> None:
    own = helm.rendered("--set", "certificates.extraHosts={edge.example,10.0.0.7}")
    [container] = pod_templates(own)["Job/argosy-certificates"]["spec"]["containers"]
    hosts = [arg.removeprefix("--host=") for arg in container["args"] if arg.startswith("--host=")]
    assert hosts == [f"argosy.{NAMESPACE}.svc", "edge.example", "10.0.0.7"]
    answer = CliRunner().invoke(build(), [*container["args"], "--help"])
    assert answer.exit_code == 0, answer.output
    assert {o["kind"] for o in own} & {"Certificate"} == set()

    issuer = "certificates.issuer.name=corporate,certificates.issuer.kind=ClusterIssuer"
    managed = helm.rendered(
        *WITH_CERT_MANAGER, "--set", f"{issuer},certificates.extraHosts={{edge.example,10.0.0.7}}"
    )
    assert "Job/argosy-certificates" not in pod_templates(managed)
    assert "argosy-certificates" not in {o["metadata"]["name"] for o in managed}
    found = {o["spec"]["secretName"]: o["spec"] for o in managed if o["kind"] == "Certificate"}
    assert set(found) == {"argosy-xds-server", "argosy-xds-envoy"}
    server = found["argosy-xds-server"]
    assert (server["dnsNames"], server["ipAddresses"]) == (hosts[:2], hosts[2:])
    assert (server["duration"], server["renewBefore"]) == ("2160h", "864h")
    reference = {"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    assert [each["issuerRef"] for each in found.values()] == [reference, reference]


def test_without_mutual_tls_nothing_of_it_is_installed(helm: Helm) -> None:
    objects = helm.rendered("--set", "certificates.enabled=false")
    assert "certificates" not in " ".join(o["metadata"]["name"] for o in objects)


@pytest.mark.parametrize("name", FILES)
def test_the_operators_flags_are_flags_that_it_has(name: str, helm: Helm) -> None:
    [container] = pod_templates(helm.rendered(*values(name)))["Deployment/argosy-operator"]["spec"][
        "containers"
    ]
    answer = CliRunner().invoke(build(), [*container["args"], "--help"])
    assert answer.exit_code == 0, answer.output


def test_an_envoy_pod_gets_time_for_its_drain_and_its_name_as_the_node_id(helm: Helm) -> None:
    [spec] = [t["spec"] for k, t in pod_templates(helm.rendered()).items() if k == "Deployment/argosy-envoy"]
    [container] = spec["containers"]
    *_, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert spec["terminationGracePeriodSeconds"] > int(seconds)
    assert container["args"][container["args"].index("--service-node") + 1] == "$(POD_NAME)"


def test_a_changed_bootstrap_rolls_the_envoys(helm: Helm) -> None:
    def checksum(namespace: str) -> str:
        objects = helm.rendered(namespace=namespace)
        template = pod_templates(objects)["Deployment/argosy-envoy"]
        return str(template["metadata"]["annotations"]["checksum/bootstrap"])

    assert checksum("a") != checksum("b")


def test_an_older_kubernetes_is_refused_with_the_version_it_takes(helm: Helm) -> None:
    said = helm.refusal("template", "argosy", str(CHART), "--kube-version", "1.28.9")
    assert "chart requires kubeVersion: >=1.29.0-0" in said


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        pytest.param(
            "envoy.kind=DaemonSet,envoy.autoscaling.enabled=true",
            "envoy.autoscaling.enabled is true and envoy.kind is DaemonSet: only a Deployment has a number of"
            " replicas to scale; set envoy.kind to Deployment, or envoy.autoscaling.enabled to false",
            id="autoscaling of a DaemonSet",
        ),
        pytest.param(
            "envoy.autoscaling.minReplicas=11",
            "envoy.autoscaling.minReplicas is 11, more than envoy.autoscaling.maxReplicas, which is 10:",
            id="fewest above most",
        ),
        pytest.param(
            "envoy.autoscaling.enabled=true,envoy.resources.requests.cpu=null",
            "envoy.resources.requests.cpu is missing: autoscaling measures CPU against the request; set one",
            id="autoscaling by CPU without a request of CPU",
        ),
        pytest.param(
            "envoy.autoscaling.enabled=true,envoy.hostPort=80",
            "envoy.hostPort is 80 and envoy.autoscaling.enabled is true: two replicas cannot have one port",
            id="autoscaling with a port of the node",
        ),
        pytest.param(
            "envoy.gatewayPort=9902",
            "envoy.gatewayPort is 9902, where Envoy's own interfaces listen (9901: administration, 9902:",
            id="the port of Envoy's statistics",
        ),
        pytest.param(
            "envoy.drain.leastSeconds=400",
            "envoy.drain.leastSeconds is 400, more than envoy.drain.mostSeconds, which is 300: raise",
            id="a drain that is over before it may be",
        ),
        pytest.param(
            "envoy.service.nodePort=30080",
            "envoy.service.nodePort is 30080 and envoy.service.type is ClusterIP, which has no port on nodes",
            id="a node port without one",
        ),
        pytest.param(
            "envoy.service.externalTrafficPolicy=Local",
            "envoy.service.externalTrafficPolicy is Local and envoy.service.type is ClusterIP, which nothing",
            id="a policy for traffic that does not exist",
        ),
        pytest.param(
            "certificates.days=400",
            "certificates.authorityDays is 730, less than twice certificates.days, which is 400: raise it to"
            " 800 or more",
            id="an authority that ends before its certificates",
        ),
        pytest.param(
            "certificates.issuer.name=corporate",
            "certificates.issuer names corporate and the cluster has no kind Certificate of"
            " cert-manager.io/v1: install cert-manager before, or remove the issuer;",
            id="cert-manager where there is none",
        ),
        pytest.param(
            "envoy.kind=None",
            "envoy.kind is None and networkPolicies.adsFrom is empty: no Envoy could reach the operators",
            id="Envoys that a policy shuts out",
        ),
        pytest.param(
            "operator.extraArgs={--state-dir=/data}",
            "operator.extraArgs has --state-dir, which the chart sets itself: use the chart's values",
            id="a flag twice",
        ),
        pytest.param(
            "envoy.repicas=3", "at '/envoy': additional properties 'repicas' not allowed", id="typo"
        ),
        pytest.param("envoy.replicas=0", "at '/envoy/replicas': minimum: got 0, want 1", id="no replicas"),
        pytest.param("envoy.replicas=two", "at '/envoy/replicas': got string, want integer", id="a word"),
        pytest.param(
            "envoy.kind=StatefulSet",
            "at '/envoy/kind': value must be one of 'Deployment', 'DaemonSet', 'None'",
            id="an unknown kind",
        ),
        pytest.param(
            "image.digest=latest", "at '/image/digest': 'latest' does not match pattern", id="not a digest"
        ),
        pytest.param(
            "operator.logLevel=verbose", "at '/operator/logLevel': value must be one of", id="no log level"
        ),
        pytest.param(
            "operator.prometheusUrl=prometheus:9090",
            "at '/operator/prometheusUrl': 'prometheus:9090' does not match pattern",
            id="not a URL",
        ),
        pytest.param(
            "crds.remove=true", "at '/crds': additional properties 'remove' not allowed", id="of a part"
        ),
    ],
)
def test_values_that_cannot_be_meant_are_refused(settings: str, sentence: str, helm: Helm) -> None:
    assert sentence in helm.refusal("template", "argosy", str(CHART), "--set", settings)


def test_the_notes_name_what_to_do_next_and_what_to_mind(helm: Helm) -> None:
    def notes(*arguments: str) -> str:
        command = ("install", "argosy", str(CHART), "--dry-run=client", "--namespace", NAMESPACE)
        return helm.said(*command, *arguments).partition("NOTES:\n")[2]

    plain = notes()
    assert "spec: {mode: Auto}" in plain
    assert f"http://argosy-gateway.{NAMESPACE}.svc:80/v1" in plain
    assert "WARNING" not in plain
    assert (
        "lacks the Prometheus Operator's ServiceMonitor, PodMonitor, PrometheusRule: what Prometheus" in plain
    )
    assert "kubectl gives no warning" not in plain
    minded = notes("--set", "crds.keep=false,uninstall.removeEverything=true,envoy.gatewayPort=9000")
    assert "spec: {mode: Auto, gateway: {port: 9000}}" in minded
    assert "deletes every GPUPool, ServedModel, WorkloadClass and Fleet of the cluster" in minded
    assert "deletes your Argosy objects and ends every engine" in minded
    alone = notes(*values("own-envoys"))
    assert f"argosy envoy bootstrap --ads argosy.{NAMESPACE}.svc:18000" in alone
    assert "custom resources are not part of this release" in alone


def test_the_custom_resources_are_the_operators(helm: Helm) -> None:
    rendered = [o for o in helm.rendered() if o["kind"] == "CustomResourceDefinition"]
    wanted = [yaml.safe_load(file.read_text()) for file in sorted((REPOSITORY / "crds").glob("*.yaml"))]
    assert {o["metadata"]["name"]: o["spec"] for o in rendered} == {
        o["metadata"]["name"]: o["spec"] for o in wanted
    }
    assert {o["metadata"]["annotations"]["helm.sh/resource-policy"] for o in rendered} == {"keep"}
    apart = helm.rendered(chart=CHART / "charts" / "argosy-crds")
    assert [o["metadata"]["name"] for o in apart] == [o["metadata"]["name"] for o in rendered]
    without = helm.rendered("--set", "crds.install=false")
    assert [o for o in without if o["kind"] == "CustomResourceDefinition"] == []


def test_generated_files_of_the_chart_are_up_to_date() -> None:
    differing = [p.name for p, text in generate_chart.generated().items() if p.read_text() != text]
    assert differing == [], "run: make generate"
