"""The chart on a real API server: each object as it judges it, and install, upgrade, rollback and uninstall.

Pods do not run there: what is judged is the objects, and that users' own objects outlive everything.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, NAMESPACE, OTHERS_CRDS, REPOSITORY, Helm, pod_templates, values
from hook_pods import HookPods
from waiting import until, until_equal

from argosy_sim.controlplane.cluster import ControlPlane

OWN = ("fleets", "gpupools", "servedmodels", "workloadclasses", "routerpolicies")
WITH_JOB = ("argosy", str(CHART), "--namespace", NAMESPACE)
WITHOUT_JOB = (*WITH_JOB, "--set", "certificates.enabled=false")
"""Helm waits some seconds for each job: only the test of the certificates has theirs."""
INSTALL = ("install", *WITHOUT_JOB)
UPGRADE = ("upgrade", *WITHOUT_JOB)
NAMED = ("argosy", "--namespace", NAMESPACE)
OLD = "0.0.9"
OTHERS = ("monitoring.coreos.com", "cert-manager.io")
MONITORS = ("ServiceMonitor", "PodMonitor", "PodMonitor", "PrometheusRule")
DRY_RUN = ("apply", "--server-side", "--dry-run=server", "-f", "-")
"""Every unknown field is an error."""


@dataclass(frozen=True)
class Cluster:
    """A control plane, and helm and kubectl as its administrator."""

    control_plane: ControlPlane
    helm: Helm
    hook_pods: HookPods

    def _ran(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        config = f"--kubeconfig={self.control_plane.admin_kubeconfig}"
        return subprocess.run(
            [str(self.control_plane.binaries.kubectl), config, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Standard output of kubectl; fails the test with its words."""
        answer = self._ran(*arguments, stdin=stdin)
        assert answer.returncode == 0, f"kubectl {arguments}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def refusal(self, *arguments: str, stdin: str = "") -> str:
        """kubectl's words where it has to fail."""
        answer = self._ran(*arguments, stdin=stdin)
        assert answer.returncode != 0, f"kubectl {arguments} succeeded: {answer.stdout}"
        return answer.stderr

    def start_helm(self, *arguments: str) -> subprocess.Popen[bytes]:
        """helm, while the test goes on."""
        return subprocess.Popen(
            [str(self.helm.program), *arguments],
            env=self.helm.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def may(self, account: str, verb: str, resource: str) -> bool:
        """Whether a ServiceAccount of the chart's namespace may do this in all namespaces."""
        who = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
        return self._ran("auth", "can-i", verb, resource, who, "-A").stdout.strip() == "yes"

    def uninstalling_pod(self) -> dict[str, Any] | None:
        """The pod of the job that runs before the release is removed."""
        selector = ("-l", "job-name=argosy-uninstall", "-o", "json")
        found = json.loads(self.kubectl("-n", NAMESPACE, "get", "pods", *selector))["items"]
        return found[0] if found else None

    def succeed(self, pod: dict[str, Any]) -> None:
        """Say of a pod what its kubelet would once its containers have ended well."""
        done = json.dumps({"status": {"phase": "Succeeded"}})
        name = pod["metadata"]["name"]
        self.kubectl("-n", NAMESPACE, "patch", "pod", name, "--subresource=status", "-p", done)

    def names(self, *kinds: str) -> set[str]:
        """`kind/name` of the objects of the chart's kinds in its namespace, or of the cluster's."""
        return set(self.kubectl("-n", NAMESPACE, "get", ",".join(kinds), "-o", "name").split())

    def resources(self) -> set[str]:
        """What clients find: `plural.group` of every kind."""
        return set(self._ran("api-resources", "-o", "name").stdout.split())

    def identities(self) -> set[str]:
        """The users' objects by uid."""
        found = json.loads(self.kubectl("get", ",".join(OWN), "-A", "-o", "json"))["items"]
        return {f"{o['kind']}/{o['metadata']['name']} {o['metadata']['uid']}" for o in found}

    def apply_users_objects(self) -> set[str]:
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        self.kubectl("apply", "-f", str(REPOSITORY / "examples" / "small"))
        return self.identities()

    def version(self) -> str:
        """The tag of the operator's image."""
        path = "jsonpath={.spec.template.spec.containers[0].image}"
        image = self.kubectl("-n", NAMESPACE, "get", "deployment", "argosy-operator", "-o", path)
        return image.rpartition(":")[2]

    def version_if_any(self) -> str:
        """The same; empty where there is no operator yet."""
        return self.version() if "deployment.apps/argosy-operator" in self.names("deployments") else ""

    def knows_endpoint_header(self) -> bool:
        """Whether the Fleet's schema has the field that the previous version did not have."""
        return "endpointHeader" in self.kubectl("get", "crd", "fleets.argosy.dev", "-o", "json")

    def status(self) -> str:
        return str(json.loads(self.helm.said("status", *NAMED, "-o", "json"))["info"]["status"])

    def clear(self) -> None:
        """No release, no objects and no custom resources."""
        self.helm.run("uninstall", *NAMED, "--no-hooks", "--ignore-not-found")
        self.helm.run("uninstall", "other", "--namespace", NAMESPACE, "--no-hooks", "--ignore-not-found")
        self.kubectl("delete", "--ignore-not-found", "-f", str(REPOSITORY / "crds"))
        self.kubectl("-n", NAMESPACE, "delete", "secret", "-l", "argosy.dev/certificates")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, helm: Helm) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("installed")
    with ControlPlane.start(directory / "control-plane") as control_plane:
        home = directory / "home"
        home.mkdir()
        hook_pods = HookPods(control_plane, NAMESPACE, home)
        found = Cluster(control_plane, Helm(helm.program, home, control_plane.admin_kubeconfig), hook_pods)
        found.kubectl("create", "namespace", NAMESPACE)
        restricted = "pod-security.kubernetes.io/enforce=restricted"
        found.kubectl("label", "namespace", NAMESPACE, restricted)
        yield found
        hook_pods.close()


@pytest.fixture
def cluster(plane: Cluster) -> Iterator[Cluster]:
    yield plane
    plane.clear()


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An older version of the chart: without a field, a permission and the policies; with a ConfigMap."""
    chart = tmp_path_factory.mktemp("previous") / "argosy"
    shutil.copytree(CHART, chart)
    for file in (chart / "Chart.yaml", chart / "charts/argosy-crds/Chart.yaml"):
        file.write_text(file.read_text().replace("ersion: 0.1.0", f"ersion: {OLD}"))
    fleets = chart / "charts/argosy-crds/files/argosy.dev_fleets.yaml"
    crd = yaml.safe_load(fleets.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["gateway"]["properties"]["endpointHeader"]
    fleets.write_text(yaml.safe_dump(crd))
    rbac = chart / "files/operator-rbac.yaml"
    rule = r'  - apiGroups: \[""\]\n    resources: \[configmaps\]\n    verbs: \[get\]\n'
    older, removed = re.subn(rule, "", rbac.read_text())
    assert removed == 1
    rbac.write_text(older)
    (chart / "templates/network-policies.yaml").write_text(
        "\n".join(f'{{{{ define "argosy.{name}" }}}}{{{{ end }}}}' for name in ("dnsEgress", "enginesEgress"))
    )
    (chart / "templates/former.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: former, namespace: argosy-system}\n"
    )
    return chart


@pytest.mark.parametrize("name", ["default", "everything", "edge", "own-envoys"])
def test_the_api_server_takes_every_object_and_every_pod_is_restricted(
    name: str, plane: Cluster, helm: Helm
) -> None:
    objects = helm.rendered(*values(name))
    pods = [pod_of(key, template) for key, template in pod_templates(objects).items()]
    manifests = "\n---\n".join(json.dumps(each) for each in [*objects, *pods])
    said = plane.kubectl(*DRY_RUN, stdin=manifests)
    assert len(said.splitlines()) == len(objects) + len(pods)


def test_kinds_of_others_are_used_where_the_cluster_has_them_and_fit_their_definitions(
    plane: Cluster,
) -> None:
    issuer = ("--set", "certificates.issuer.name=corporate")

    def made(*settings: str) -> list[dict[str, Any]]:
        said = plane.helm.said("template", *WITH_JOB, "--dry-run=server", *settings)
        loaded = yaml.load_all(said, Loader=yaml.CSafeLoader)
        return [o for o in loaded if o and o["apiVersion"].partition("/")[0] in OTHERS]

    def found() -> int:
        return sum(name.partition(".")[2] in OTHERS for name in plane.resources())

    assert made() == []
    plane.kubectl("apply", "--server-side", "-f", str(OTHERS_CRDS))
    try:
        plane.kubectl("wait", "--for=condition=Established", "-f", str(OTHERS_CRDS), "--timeout=30s")
        until_equal(4, found, "clients to find the kinds")
        objects = made(*issuer)
        assert sorted(o["kind"] for o in objects) == sorted([*MONITORS, "Certificate", "Certificate"])
        said = plane.kubectl(*DRY_RUN, stdin="\n---\n".join(map(json.dumps, objects)))
        assert len(said.splitlines()) == len(objects)
        for each in objects:
            each["spec"]["typo"] = 1
        refused = plane.refusal(*DRY_RUN, stdin="\n---\n".join(map(json.dumps, objects)))
        assert refused.count(".spec.typo: field not declared in schema") == len(objects)
    finally:
        plane.kubectl("delete", "-f", str(OTHERS_CRDS), "--ignore-not-found")
    until_equal(0, found, "clients to miss them")


def pod_of(key: str, template: dict[str, Any]) -> dict[str, Any]:
    """A pod of a template, as its controller would make it."""
    metadata = {**template["metadata"], "name": key.lower().replace("/", "-"), "namespace": NAMESPACE}
    # Accounts come with the release.
    spec = {**template["spec"], "serviceAccountName": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_port_of_the_node_is_all_that_pod_security_has_against_an_envoy(plane: Cluster, helm: Helm) -> None:
    objects = helm.rendered(*values("edge"), "--set", "envoy.hostPort=8080")
    pod = pod_of("envoy", pod_templates(objects)["DaemonSet/argosy-envoy"])
    said = plane.refusal(*DRY_RUN, stdin=json.dumps(pod))
    assert re.findall(r'violates PodSecurity "restricted:latest": (.*)', said) == [
        'hostPort (container "envoy" uses hostPort 8080)'
    ]


def test_the_overlay_changes_what_helm_renders(plane: Cluster, helm: Helm, tmp_path: Path) -> None:
    overlay = shutil.copytree(CHART.parent / "kustomize", tmp_path / "overlay")
    command = ("template", "argosy", str(CHART), "--namespace", NAMESPACE, "--no-hooks")
    (overlay / "argosy.yaml").write_text(helm.said(*command))
    plane.kubectl("apply", "--server-side", "--dry-run=server", "-k", str(overlay), "--force-conflicts")
    built = yaml.safe_load_all(plane.kubectl("kustomize", str(overlay)))
    [envoys] = [o for o in built if (o["kind"], o["metadata"]["name"]) == ("Deployment", "argosy-envoy")]
    assert envoys["spec"]["replicas"] == 3


@pytest.mark.timeout(400)
def test_upgrade_interruption_and_rollback_keep_users_objects_and_exchange_the_charts(
    cluster: Cluster, previous: Path
) -> None:
    helm, watched = cluster.helm, ("deployments", "configmaps", "networkpolicies")
    helm.said("install", "argosy", str(previous), *INSTALL[3:])
    mine, before = cluster.apply_users_objects(), cluster.names(*watched)
    assert len(mine) == 7
    assert (cluster.version(), cluster.knows_endpoint_header()) == (OLD, False)

    killed_while_it_waits(cluster, *UPGRADE)
    assert cluster.status() == "pending-upgrade"
    assert "another operation (install/upgrade/rollback) is in progress" in helm.refusal(*UPGRADE)
    helm.said("rollback", *NAMED)
    assert (cluster.status(), cluster.version()) == ("deployed", OLD)

    helm.said(*UPGRADE)
    assert (cluster.status(), cluster.version(), cluster.knows_endpoint_header()) == (
        "deployed",
        "0.1.0",
        True,
    )
    after = cluster.names(*watched)
    assert before - after == {"configmap/former"}
    assert after - before == {
        f"networkpolicy.networking.k8s.io/argosy-{part}" for part in ("envoy", "operator")
    }
    assert cluster.may("argosy-operator", "get", "configmaps")
    assert cluster.identities() == mine

    helm.said("rollback", NAMED[0], "1", *NAMED[1:])
    assert (cluster.version(), cluster.knows_endpoint_header()) == (OLD, False)
    assert cluster.names(*watched) == before
    assert not cluster.may("argosy-operator", "get", "configmaps")
    assert cluster.identities() == mine


def killed_while_it_waits(cluster: Cluster, *arguments: str) -> None:
    """A command that ends before its last step: no pod becomes ready here, so with --wait it stays."""
    waiting = cluster.start_helm(*arguments, "--wait")
    try:
        until_equal("0.1.0", cluster.version_if_any, f"helm {arguments[0]} to be under way")
    finally:
        waiting.send_signal(signal.SIGKILL)
        waiting.wait()


@pytest.mark.timeout(400)
def test_a_cut_off_install_can_be_removed_and_uninstall_ends_engines_by_a_job_and_keeps_what_users_have(
    cluster: Cluster,
) -> None:
    helm = cluster.helm
    killed_while_it_waits(cluster, *INSTALL)
    assert "cannot reuse a name that is still in use" in helm.refusal(*INSTALL)
    helm.said("uninstall", *NAMED)
    helm.said(*INSTALL, "--set", "uninstall.removeEverything=true")
    mine = cluster.apply_users_objects()
    assert "job.batch/argosy-uninstall" not in cluster.names("jobs")
    uninstall = cluster.start_helm("uninstall", *NAMED)
    try:
        pod = until(cluster.uninstalling_pod, "the job's pod")
        [container] = pod["spec"]["containers"]
        assert (container["args"], pod["spec"]["serviceAccountName"]) == (
            ["down", "--all", "--yes"],
            "argosy-uninstall",
        )
        assert cluster.may("argosy-uninstall", "delete", "gpupools.argosy.dev")
        assert cluster.version(), "the operator drains the engines meanwhile"
        cluster.succeed(pod)
        assert uninstall.wait(timeout=120) == 0
    finally:
        uninstall.kill()
        uninstall.wait()
    gone = ("jobs", "deployments", "services", "serviceaccounts", "clusterroles", "clusterrolebindings")
    assert {n for n in cluster.names(*gone, "validatingadmissionpolicies") if "argosy" in n} == set()
    assert cluster.identities() == mine, "no pod ran, so the job deleted nothing, and neither did helm"

    other = ("install", "other", *INSTALL[2:], "--set", "crds.keep=false")
    assert "invalid ownership metadata" in helm.refusal(*other)
    helm.said(*other, "--take-ownership")
    assert cluster.identities() == mine
    helm.said("uninstall", "other", "--namespace", NAMESPACE)
    until_equal(set(), lambda: cluster.names("crd"), "the custom resources to be gone")


def test_an_installation_by_kubectl_is_taken_over(cluster: Cluster) -> None:
    for path in ("crds", "charts/argosy/files/operator-rbac.yaml"):
        cluster.kubectl("apply", "--server-side", "-f", str(REPOSITORY / path))
    mine = cluster.apply_users_objects()
    assert "invalid ownership metadata" in cluster.helm.refusal(*INSTALL)
    cluster.helm.said(*INSTALL, "--take-ownership", "--force-conflicts")
    assert cluster.identities() == mine
    cluster.helm.said(*UPGRADE, "--set", "crds.install=false")
    assert cluster.identities() == mine, "custom resources that leave the release stay"


def test_a_job_makes_the_certificates_first_and_what_is_there_is_kept(cluster: Cluster) -> None:
    """It runs with the rights of its own account; an upgrade makes nothing anew, and a removal keeps them."""

    def secrets() -> dict[str, str]:
        selector = ("-l", "argosy.dev/certificates=argosy-xds", "-o", "json")
        found = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "secrets", *selector))["items"]
        return {secret["metadata"]["name"]: secret["data"]["tls.crt"] for secret in found}

    cluster.hook_pods.runs = True
    try:
        cluster.helm.said("install", *WITH_JOB)
        made = secrets()
        assert set(made) == {"argosy-xds-ca", "argosy-xds-server", "argosy-xds-envoy"}
        cluster.helm.said("upgrade", *WITH_JOB)
    finally:
        cluster.hook_pods.runs = False
    first, second = cluster.hook_pods.outputs
    assert (first.count("there was none"), second.count("there was none")) == (3, 0)
    hooks = ("jobs", "serviceaccounts", "roles", "rolebindings")
    assert {n for n in cluster.names(*hooks) if "argosy-certificates" in n} == {
        "role.rbac.authorization.k8s.io/argosy-certificates",
        "rolebinding.rbac.authorization.k8s.io/argosy-certificates",
    }, "the job and its account are gone, the leader's right to renew stays"
    cluster.helm.said("uninstall", *NAMED)
    assert secrets() == made
