"""Objects from files, and the snapshot that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from argosy.errors import SpecError
from argosy.files.manifests.reading import read_objects
from argosy.files.objects import snapshot_of
from argosy.snapshot.cluster import NodeState
from argosy.snapshot.fleet import ProfileFileKey

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"- a\n- b\n", "holds something that is not a Kubernetes object", id="a list of words"),
        pytest.param(b"hello\n", "holds something that is not a Kubernetes object", id="a word"),
        pytest.param(
            b"kind: GPUPool\nmetadata: l40s\n",
            "holds something that is not a Kubernetes object",
            id="no metadata",
        ),
        pytest.param(
            b"kind: NodeList\nitems: [a]\n",
            "holds something that is not a Kubernetes object",
            id="a list of none",
        ),
        pytest.param(b"\xff\xfe\x00", "cannot be read as YAML or JSON: ", id="no text"),
        pytest.param(b"a: [", "cannot be read as YAML or JSON: ", id="no YAML"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as raised:
        read_objects([tmp_path])
    assert raised.value.field == str(file)
    assert str(raised.value).startswith(f"{file}: {said}")


def test_foreign_objects_and_empty_lists_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "mixed.yaml").write_text("kind: Kustomization\n---\nkind: NodeList\n")
    assert dict(snapshot_of(read_objects([tmp_path]), 0.0).nodes) == {}


@pytest.mark.parametrize(
    ("kind", "metadata", "shown"),
    [
        pytest.param("Node", {}, "(no name)", id="no metadata"),
        pytest.param("Node", {"metadata": {"generateName": "gpu-"}}, "(no name)", id="a generated name"),
        pytest.param("Node", {"metadata": {"name": 3}}, "3", id="a number"),
        pytest.param("Node", {"metadata": {"name": "GPU"}}, "'GPU'", id="capitals"),
        pytest.param("ConfigMap", {"metadata": {"name": ["c"]}}, "['c']", id="a list"),
        pytest.param("ConfigMap", {"metadata": {"name": ""}}, "''", id="nothing"),
    ],
)
def test_a_name_of_kubernetes_own_kinds_is_checked(
    kind: str, metadata: dict[str, object], shown: str
) -> None:
    with pytest.raises(SpecError) as raised:
        snapshot_of([{"kind": kind, "data": {"a": "b"}, **metadata}], 0.0)
    needed = "at most 253 lower-case letters, digits, '-' and '.', as in chat-eu"
    assert str(raised.value) == f"{kind} {shown}: metadata.name must be {needed}"


@pytest.mark.parametrize("namespace", [["c"], 3, 0, [], False])
@pytest.mark.parametrize("kind", ["ConfigMap", "ServedModel"])
def test_a_namespace_that_is_no_string_is_refused(kind: str, namespace: object) -> None:
    item = {"kind": kind, "metadata": {"name": "a", "namespace": namespace}}
    with pytest.raises(SpecError) as raised:
        snapshot_of([item], 0.0)
    assert str(raised.value) == f"{kind} a: metadata.namespace must be a string; got {namespace!r}"


@pytest.mark.parametrize("namespace", [{}, {"namespace": None}, {"namespace": ""}, {"namespace": "default"}])
def test_a_config_map_without_a_namespace_belongs_to_default(namespace: dict[str, object]) -> None:
    item = {"kind": "ConfigMap", "metadata": {"name": "a", **namespace}, "data": {"k": "v"}}
    assert snapshot_of([item], 0.0).profile_files == {ProfileFileKey("default", "a", "k"): b"v"}


def test_a_folder_is_its_yaml_and_json_files_and_a_named_file_has_any_name(tmp_path: Path) -> None:
    for number, name in enumerate(("a.yaml", "b.yml", "c.json", "d.txt")):
        (tmp_path / name).write_text(json.dumps({"kind": "Node", "metadata": {"name": f"n{number}"}}))
    assert [item["metadata"]["name"] for item in read_objects([tmp_path])] == ["n0", "n1", "n2"]
    assert [item["metadata"]["name"] for item in read_objects([tmp_path / "d.txt"])] == ["n3"]


def test_a_folder_without_manifests_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(SpecError, match=r"holds no file that ends in \.json, \.yaml, \.yml") as raised:
        read_objects([tmp_path])
    assert raised.value.field == str(tmp_path)


def test_a_list_and_its_items_make_the_same_snapshot(tmp_path: Path) -> None:
    items = read_objects([EXAMPLES / "small"])
    a_list = {"kind": "List", "items": items}
    for written in (a_list, {"kind": "List", "items": [a_list]}):
        (tmp_path / "list.yaml").write_text(yaml.safe_dump(written))
        assert snapshot_of(read_objects([tmp_path]), 5.0) == snapshot_of(items, 5.0)


def test_the_small_example_is_a_world_in_which_nothing_runs() -> None:
    snapshot = snapshot_of(read_objects([EXAMPLES / "small", EXAMPLES / "nodes.yaml"]), 5.0)
    assert (snapshot.now_s, sorted(snapshot.pools)) == (5.0, ["h100", "l40s"])
    assert (sorted(snapshot.classes), sorted(snapshot.models)) == (
        ["default/batch", "default/chat"],
        ["default/llama-8b"],
    )
    assert (snapshot.plans, dict(snapshot.pods), len(snapshot.nodes) > 0) == ((), {}, True)


def test_nodes_that_are_given_join_those_of_the_files() -> None:
    objects = [{"kind": "Node", "metadata": {"name": "a"}}]
    assert list(snapshot_of(objects, 0.0, [NodeState("b", {}, {}, ready=True)]).nodes) == ["a", "b"]


def test_an_object_that_is_not_valid_is_named_with_its_field() -> None:
    pool = {"apiVersion": "argosy.dev/v1alpha1", "kind": "GPUPool", "metadata": {"name": "l40s"}, "spec": {}}
    with pytest.raises(SpecError, match=r"GPUPool l40s: .*spec\.") as raised:
        snapshot_of([pool], 0.0)
    assert raised.value.field == "GPUPool l40s"


POOL = {
    "apiVersion": "argosy.dev/v1alpha1",
    "kind": "GPUPool",
    "metadata": {"name": "l40s"},
    "spec": {"gpu": "L40S", "nodeSelector": {"a": "b"}, "gpusPerNode": 2, "priceUsdPerHour": 0.9},
}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        pytest.param({"status": "Ready"}, "Node n1: status must be an object; got 'Ready'", id="status"),
        pytest.param(
            {"status": {"conditions": [3]}},
            "Node n1: status.conditions must be a list of objects; got [3]",
            id="conditions",
        ),
        pytest.param(
            {"spec": {"taints": "gpu"}},
            "Node n1: spec.taints must be a list of objects; got 'gpu'",
            id="taints",
        ),
        pytest.param(
            {"metadata": {"name": "n1", "labels": ["gpu"]}},
            "Node n1: metadata.labels must be an object; got ['gpu']",
            id="labels",
        ),
        pytest.param(
            {"metadata": {"name": "n1", "labels": {"a": 3}}},
            "Node n1: metadata.labels must be a map of strings to strings; got {'a': 3}",
            id="a number as a label",
        ),
        pytest.param(
            {"status": {"allocatable": {8: 1}}},
            "Node n1: status.allocatable must be an object with strings as keys; got {8: 1}",
            id="a number as a resource",
        ),
    ],
)
def test_a_node_of_another_shape_is_refused_with_its_field(node: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError) as raised:
        snapshot_of([{"kind": "Node", "metadata": {"name": "n1"}, **node}], 0.0)
    assert said == str(raised.value)


def test_a_misspelt_kind_of_the_api_group_is_refused_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "class.yaml"
    file.write_text("apiVersion: argosy.dev/v1alpha1\nkind: WorkloadClas\n")
    with pytest.raises(SpecError) as raised:
        read_objects([file])
    assert f"{file}: kind: argosy.dev has no kind WorkloadClas; did you mean WorkloadClass?" == str(
        raised.value
    )


def test_a_kind_of_the_same_name_in_another_group_is_ignored() -> None:
    foreign = {"apiVersion": "karpenter.sh/v1", "kind": "GPUPool", "metadata": {"name": "x"}, "spec": {}}
    node = {"apiVersion": "longhorn.io/v1beta2", "kind": "Node", "metadata": {"name": "x"}}
    snapshot = snapshot_of([foreign, node, POOL], 0.0)
    assert (list(snapshot.pools), list(snapshot.nodes)) == (["l40s"], [])


@pytest.mark.parametrize("name", [None, "", 3, "Ünï", "Chat", "a" * 300, "-a"])
def test_a_name_that_the_api_server_refuses_is_refused(name: object) -> None:
    with pytest.raises(SpecError, match=r"^GPUPool .+: metadata\.name must be at most 253 lower-case"):
        snapshot_of([POOL | {"metadata": {"name": name}}], 0.0)


def test_a_field_that_the_kind_does_not_have_is_refused_as_kubectl_does() -> None:
    spec = {**POOL["spec"], "priceUsdPerHourr": 3}  # type: ignore[dict-item]
    with pytest.raises(SpecError) as raised:
        snapshot_of([POOL | {"spec": spec}], 0.0)
    assert str(raised.value) == (
        "GPUPool l40s: spec.priceUsdPerHourr is not a field of this kind; did you mean priceUsdPerHour?"
    )


def test_an_exported_object_keeps_the_metadata_and_status_of_its_cluster() -> None:
    metadata = {"name": "l40s", "managedFields": [{"manager": "kubectl"}], "selfLink": "/x"}
    assert list(snapshot_of([POOL | {"metadata": metadata, "status": {"other": 1}}], 0.0).pools) == ["l40s"]


def test_scalars_are_read_as_kubectl_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "scalars.yaml"
    file.write_text(
        "kind: Other\nrate: 1e6\nsmall: 1E-3\nday: 2024-01-01\nname: 1e6a\nwhole: 7\nversion: 1.5\n"
    )
    wanted = {"rate": 1e6, "small": 1e-3, "day": "2024-01-01", "name": "1e6a", "whole": 7, "version": 1.5}
    assert [{"kind": "Other", **wanted}] == read_objects([file])
