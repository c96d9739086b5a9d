"""Manifests as kubectl prints them, as editors and shells leave them, and as users mistype them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from argosy.errors import SpecError
from argosy.files.manifests.reading import read_manifests
from argosy.files.objects import snapshot_of

NODE = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
POOL = """apiVersion: argosy.dev/v1alpha1
kind: GPUPool
metadata: {name: a10}
spec: {gpu: A10G, nodeSelector: {pool: a10}, gpusPerNode: 1, priceUsdPerHour: 1.0}
"""
CLASS: dict[str, Any] = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "WorkloadClass",
    "metadata": {"name": "chat"},
    "spec": {
        "match": {"models": ["m"]},
        "models": [{"name": "m"}],
        "traffic": {
            "requestsPerSecond": 2,
            "lengths": {"table": [{"promptTokens": 500, "outputTokens": 100, "weight": 1}]},
        },
        "slo": {"ttft": {"p95Milliseconds": 5000}},
    },
}


def names(folder: Path, content: bytes) -> list[str]:
    """Of the objects of one file with this content."""
    file = folder / "objects.yaml"
    file.write_bytes(content)
    return [f"{each['kind']} {each['metadata']['name']}" for each in read_manifests([file]).objects]


def refusal(folder: Path, content: str) -> str:
    file = folder / "objects.yaml"
    file.write_text(content)
    with pytest.raises(SpecError) as raised:
        snapshot_of(read_manifests([file]).objects, 0.0)
    return str(raised.value).removeprefix(f"{file}: ")


def as_json(*objects: str) -> str:
    return "\n".join(
        json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": each}}, indent="\t")
        for each in objects
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + NODE.encode(), id="a byte order mark"),
        pytest.param(NODE.encode("utf-16"), id="UTF-16, as a Windows shell redirects"),
        pytest.param(NODE.replace("\n", "\r\n").encode(), id="lines of Windows"),
        pytest.param(f"---\n---\n# nothing\n---\n{NODE}---\n...\n".encode(), id="empty documents"),
        pytest.param(as_json("n1").encode(), id="JSON with tabs"),
        pytest.param(b"\xef\xbb\xbf" + as_json("n1").encode(), id="JSON after a byte order mark"),
        pytest.param(b"{apiVersion: v1, kind: Node, metadata: {name: n1}}", id="YAML in braces"),
        pytest.param(
            b"apiVersion: v1\nkind: NodeList\nitems:\n- metadata: {name: n1}\n",
            id="a typed list of bare items",
        ),
        pytest.param(
            b'{"kind": "NodeList", "apiVersion": "v1", "items": [{"metadata": {"name": "n1"}}]}',
            id="the same as JSON",
        ),
    ],
)
def test_a_file_is_read_as_it_comes(tmp_path: Path, content: bytes) -> None:
    assert names(tmp_path, content) == ["Node n1"]


@pytest.mark.parametrize("between", ["\n", "\n---\n", ""])
def test_json_documents_may_follow_each_other(tmp_path: Path, between: str) -> None:
    content = as_json("n1") + between + as_json("n2")
    assert names(tmp_path, content.encode()) == ["Node n1", "Node n2"]


def test_documents_with_a_byte_order_mark_each_may_be_put_together(tmp_path: Path) -> None:
    content = f"\N{ZERO WIDTH NO-BREAK SPACE}{NODE}---\n\N{ZERO WIDTH NO-BREAK SPACE}{POOL}"
    assert names(tmp_path, content.encode()) == ["Node n1", "GPUPool a10"]


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(NODE.encode())))
    (node,) = read_manifests([Path("-")]).objects
    assert node["metadata"]["name"] == "n1"
    with pytest.raises(SpecError, match="- is named twice"):
        read_manifests([Path("-"), Path("-")])


def test_what_a_folder_holds_beside_manifests_is_named(tmp_path: Path) -> None:
    (tmp_path / "pool.yml").write_text(POOL)
    (tmp_path / "values.yaml").write_text("replicaCount: 3\n")
    (tmp_path / "nothing.json").write_text("")
    (tmp_path / "README.md").touch()
    (tmp_path / "more").mkdir()
    found = read_manifests([tmp_path])
    assert [each["kind"] for each in found.objects] == ["GPUPool"]
    assert found.passed_over == (
        f"{tmp_path}: passed over: more/: a folder in a folder; name it to have it read",
        f"{tmp_path}: passed over: README.md: does not end in .json, .yaml, .yml; name it to have it read",
        f"{tmp_path}/nothing.json: passed over: it holds no object",
        f"{tmp_path}/values.yaml: passed over: it has neither apiVersion nor kind: no manifest",
    )


def test_kinds_that_are_not_read_are_counted_by_name(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    mistyped = CLASS | {"apiVersion": "argosy.io/v1alpha1"}
    file.write_text(json.dumps({"kind": "List", "items": [pod, pod | {"metadata": {"name": "q"}}, mistyped]}))
    assert read_manifests([file]).passed_over == (
        f"{file}: passed over: 2 Pod (v1), 1 WorkloadClass (argosy.io/v1alpha1): read are Fleet, GPUPool, "
        "ServedModel, WorkloadClass, RouterPolicy of argosy.dev/v1alpha1, Node, ConfigMap and"
        " ResourceQuota of v1",
    )


def test_an_object_that_occurs_again_is_named(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(POOL)
    assert read_manifests([tmp_path]).passed_over == (
        f"{tmp_path}/a.yaml: passed over: GPUPool a10: it occurs again in {tmp_path}/b.yaml, "
        "and the last one is used",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(
            POOL + "spec: {}\n", "the field spec occurs twice; line 5; keep one of them", id="YAML: a field"
        ),
        pytest.param(
            POOL.replace("gpusPerNode: 1,", "gpusPerNode: 1, gpusPerNode: 2,"),
            "the field gpusPerNode occurs twice; line 4; keep one of them",
            id="YAML: a field in braces",
        ),
        pytest.param(
            '{"kind": "Node", "kind": "Node"}',
            "the field kind occurs twice in one object; keep one of them",
            id="JSON: a field",
        ),
        pytest.param(
            "apiVersion: v1\nmetadata: {name: x}\n",
            "kind is missing in the object x; write one, as in kind: ServedModel",
            id="no kind",
        ),
        pytest.param(
            POOL.replace("v1alpha1", "v1"),
            "apiVersion: GPUPool has no version argosy.dev/v1; use argosy.dev/v1alpha1",
            id="another version",
        ),
        pytest.param(
            '{"kind": "Node", ]', "cannot be read as YAML or JSON: Expecting property name", id="JSON"
        ),
    ],
)
def test_what_kubectl_refuses_is_refused(tmp_path: Path, content: str, said: str) -> None:
    assert refusal(tmp_path, content).startswith(said)


def edited(path: str, name: str) -> str:
    """A class with a field of this name at a place of it."""
    item = json.loads(json.dumps(CLASS))
    inner = item
    for step in path.split(".") if path else []:
        inner = inner[int(step) if step.isdigit() else step]
    inner[name] = 1
    return json.dumps(item)


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        ("", "specs", "specs is not a field of this kind; did you mean spec?"),
        ("spec", "Match", "spec.Match is not a field of this kind; did you mean match?"),
        ("spec.slo", "itll", "spec.slo.itll is not a field of this kind; did you mean itl?"),
        (
            "spec.traffic.lengths.table.0",
            "promptToken",
            "spec.traffic.lengths.table[0].promptToken is not a field of this kind; "
            "did you mean promptTokens?",
        ),
        ("spec", "table", "spec.table is not a field of this kind"),
        ("spec", "ttft", "spec.ttft is not a field of this kind; did you mean slo.ttft?"),
        (
            "spec.traffic",
            "table",
            "spec.traffic.table is not a field of this kind; did you mean lengths.table?",
        ),
        ("spec", "zzz", "spec.zzz is not a field of this kind"),
        ("metadata", "label", "metadata.label is not a field of this kind; did you mean labels?"),
    ],
)
def test_an_unknown_field_is_refused_with_the_one_that_was_meant(
    tmp_path: Path, path: str, name: str, said: str
) -> None:
    assert refusal(tmp_path, edited(path, name)).split(": ", 1)[1] == said


def test_every_unknown_field_is_named_before_what_it_leaves_missing(tmp_path: Path) -> None:
    found = refusal(tmp_path, POOL.replace("gpu:", "gpuu:").replace("gpusPerNode", "gpuPerNode"))
    assert found == (
        "GPUPool a10: spec.gpuu is not a field of this kind; did you mean gpu?; "
        "spec.gpuPerNode is not a field of this kind; did you mean gpusPerNode?"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            NODE + "spec: {taint: []}\n",
            "Node n1: spec.taint is not a field of this kind; did you mean taints?",
        ),
        (
            NODE + "status: {allocatables: {nvidia.com/gpu: '4'}}\n",
            "Node n1: status.allocatables is not a field of this kind; did you mean allocatable?",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndataa: {}\n",
            "ConfigMap c: dataa is not a field of this kind; did you mean data?",
        ),
    ],
)
def test_unknown_fields_of_kubernetes_own_kinds_are_refused(tmp_path: Path, content: str, said: str) -> None:
    assert refusal(tmp_path, content) == said


def test_what_a_server_sets_is_accepted() -> None:
    metadata = {
        "name": "n1",
        "uid": "u",
        "generation": 3,
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubelet", "subresource": "status"}],
        "ownerReferences": [],
        "selfLink": "/api/v1/nodes/n1",
    }
    status = {"allocatable": {}, "capacity": {}, "conditions": [], "images": [], "aFieldOfALaterVersion": {}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}
    own = CLASS | {"metadata": metadata, "status": {"anything": 1}}
    found = snapshot_of([node, own], 0.0)
    assert (list(found.nodes), list(found.classes)) == (["n1"], ["default/n1"])
