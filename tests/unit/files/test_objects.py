"""Objects from files, and the snapshot that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from argosy.errors import SpecError
from argosy.files.objects import read_objects, snapshot_of
from argosy.snapshot.cluster import NodeState

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


def test_a_bare_node_and_foreign_objects_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "mixed.yaml").write_text("kind: Kustomization\n---\nkind: Node\n---\nkind: NodeList\n")
    assert list(snapshot_of(read_objects([tmp_path]), 0.0).nodes) == [""]


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
    (tmp_path / "list.yaml").write_text(yaml.safe_dump({"kind": "List", "items": items}))
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
