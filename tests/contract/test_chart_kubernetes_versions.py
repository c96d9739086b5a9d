"""What helm renders for each Kubernetes version from 1.29 on, judged by its schemas and feature gates.

The API server that runs in the tests judges it for its own version (test_chart_installed).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from charts import (
    CHART,
    OTHERS_CRDS,
    WITH_CERT_MANAGER,
    WITH_MONITORING,
    Helm,
    Object,
    named,
    values,
)
from kubernetes_features import obstacles
from schema_judge import VERSIONS, judge

WITHOUT_CRDS = ("--set", "crds.install=false")
"""They are judged as files, by tests/unit/test_kubernetes_versions.py."""
BOUNDARY = re.compile(r'semverCompare "[<>=]+1\.(\d+)\.0-0" \.Capabilities\.KubeVersion\.Version')
SHAPES = {
    "default": (),
    "edge": values("edge"),
    "own Envoys": values("own-envoys"),
    "plain text": ("--set", "certificates.enabled=false"),
    "cert-manager": (*WITH_CERT_MANAGER, "--set", "certificates.issuer.name=corporate"),
}


def boundaries() -> set[str]:
    """The versions from which on the chart's templates render something else."""
    texts = [file.read_text("utf-8") for file in (CHART / "templates").rglob("*") if file.is_file()]
    assert sum(text.count(".KubeVersion") for text in texts) == sum(len(BOUNDARY.findall(t)) for t in texts)
    return {f"1.{minor}" for text in texts for minor in BOUNDARY.findall(text)}


def of_kubernetes(objects: list[Object]) -> list[Object]:
    """Without the kinds that others define: a real API server judges those by their definitions."""
    groups = {file.name.partition("_")[0] for file in OTHERS_CRDS.glob("*.yaml")}
    return [each for each in objects if each["apiVersion"].partition("/")[0] not in groups]


def require_taken(objects: list[Object], *versions: str) -> None:
    """Every object means in these versions what it says."""
    assert objects
    for version in versions:
        verdicts = [judge(each, version) for each in of_kubernetes(objects)]
        assert [fault for each in verdicts for fault in (*each.faults, *obstacles(each.staged))] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_takes_all_that_helm_renders_for_it(version: str, helm: Helm) -> None:
    flags = (*values("everything"), *WITH_MONITORING, *WITHOUT_CRDS)
    objects = helm.rendered("--kube-version", f"{version}.0", *flags)
    require_taken(objects, version)
    kinds = {each["kind"] for each in objects}
    assert ("ValidatingAdmissionPolicy" in kinds) == (version != "1.29")
    assert {"HorizontalPodAutoscaler", "ServiceMonitor", "Job"} <= kinds


@pytest.mark.parametrize("shape", SHAPES)
def test_every_version_takes_every_shape_of_the_chart(shape: str, helm: Helm) -> None:
    starts = sorted({VERSIONS[0], *boundaries()}, key=VERSIONS.index)
    assert starts == ["1.29", "1.30"]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        objects = helm.rendered("--kube-version", f"{start}.0", *SHAPES[shape], *WITHOUT_CRDS)
        require_taken(objects, *VERSIONS[VERSIONS.index(start) : VERSIONS.index(end) if end else None])


@pytest.mark.parametrize(
    ("version", "warns"),
    [("v1.29.8-gke.1031000", False), ("v1.29.15+k3s1", False), ("v1.30.0-eks-036c24b", True)],
)
def test_a_providers_version_counts_as_the_one_that_it_is_made_of(
    version: str, warns: bool, helm: Helm
) -> None:
    kinds = {each["kind"] for each in helm.rendered("--kube-version", version, *WITHOUT_CRDS)}
    assert ("ValidatingAdmissionPolicy" in kinds) == warns


@pytest.fixture(scope="module")
def with_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with its notes as a ConfigMap: helm prints them only where it installs."""
    chart = shutil.copytree(CHART, tmp_path_factory.mktemp("notes") / "argosy")
    notes = '{{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}'
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: notes}}\ndata: {{notes: {notes}}}\n"
    (chart / "templates" / "notes.yaml").write_text(text)
    return chart


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        pytest.param(("--kube-version=1.29.0", *WITH_MONITORING), ["warnings"], id="1.29"),
        pytest.param(("--kube-version=1.30.0", *WITH_MONITORING), [], id="1.30"),
        pytest.param(
            ("--kube-version=1.29.0", "--set", "deletionWarnings=false,monitoring.enabled=false"),
            [],
            id="nothing that is not wanted",
        ),
        pytest.param((*WITH_MONITORING[:4],), ["PrometheusRule"], id="some kinds of monitoring"),
        pytest.param((), ["ServiceMonitor, PodMonitor, PrometheusRule"], id="no kinds of monitoring"),
    ],
)
def test_the_notes_name_what_is_left_out(
    flags: tuple[str, ...], missing: list[str], helm: Helm, with_notes: Path
) -> None:
    objects = helm.rendered(*flags, *WITHOUT_CRDS, chart=with_notes)
    notes = named(objects, "ConfigMap", "notes")["data"]["notes"]
    found = ["warnings"] * ("older than Kubernetes 1.30: kubectl gives no warning" in notes)
    found += re.findall(r"lacks the Prometheus Operator's (.*): what Prometheus scrapes", notes)
    assert found == missing
