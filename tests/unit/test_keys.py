"""Keys: one type for each kind of thing, all of them plain text outside."""

from __future__ import annotations

import ast
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName, ModelKey, NamespacedName

ROOT = Path(__file__).parents[2]
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,40}[a-z0-9])?", fullmatch=True)


@given(namespace=NAMES, name=NAMES)
def test_a_key_gives_back_what_it_was_made_of(namespace: str, name: str) -> None:
    key = ClassKey.of(namespace, name)
    assert (key.namespace, key.name, str(key)) == (namespace, name, f"{namespace}/{name}")


def test_a_cluster_scoped_name_has_no_namespace() -> None:
    key = NamespacedName.of("", "l40s")
    assert (key.namespace, key.name) == ("", "l40s")


def test_a_cell_keeps_its_classs_key_as_name_until_it_is_too_long() -> None:
    long = ClassKey.of("n" * 63, "c" * 253)
    twin = ClassKey.of("n" * 63, "c" * 252 + "d")
    assert CellName.of_class(ClassKey("default/chat")) == "default/chat"
    assert len(CellName.of_class(long)) == CellName.MAX_LENGTH
    assert CellName.of_class(long) != CellName.of_class(twin)


def test_the_bands_of_a_class_are_cells_of_their_own() -> None:
    chat = ClassKey("default/chat")
    assert CellName.of_class(chat, "long") == "default/chat/long"
    assert CellName.of_class(chat, "long").namespace == "default"


@pytest.mark.parametrize("kind", [ClassKey, ModelKey, GroupName, DeploymentKey, CellName])
def test_a_key_is_text_in_json_and_its_own_type_in_python(kind: type[NamespacedName]) -> None:
    adapter: TypeAdapter[NamespacedName] = TypeAdapter(kind)
    read = adapter.validate_json('"default/a"')
    assert type(read) is kind
    assert adapter.dump_json(read) == b'"default/a"'
    assert json.dumps({read: read}) == '{"default/a": "default/a"}'
    assert type(pickle.loads(pickle.dumps(read))) is kind
    assert adapter.json_schema() == {"type": "string", "minLength": 1, "maxLength": kind.MAX_LENGTH}


@pytest.mark.parametrize("text", ["", "x" * 400])
def test_a_key_has_bounds(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ClassKey).validate_python(text)


CONFUSIONS = """
from collections.abc import Mapping
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName

def takes_class(key: ClassKey) -> None: ...

def confused(
    cell: CellName, group: GroupName, deployment: DeploymentKey, workload: ClassKey, text: str,
    by_class: Mapping[ClassKey, int], capacity: Mapping[tuple[CellName, DeploymentKey], float],
) -> None:
    takes_class(cell)
    takes_class(group)
    takes_class(text)
    by_class[group]
    by_class.get(cell)
    capacity[deployment, cell]
    print(cell == workload)
    print(group == workload)
    print(workload in (group, group))
"""


def test_mypy_refuses_every_way_to_take_one_key_for_another(tmp_path: Path) -> None:
    file = tmp_path / "confused.py"
    file.write_text(CONFUSIONS)
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", str(file)],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT / "operator"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    first = CONFUSIONS.split("\n").index("    takes_class(cell)") + 1
    lines = {int(line.split(":")[1]) for line in answer.stdout.splitlines() if ": error:" in line}
    assert lines == set(range(first, first + 9)), answer.stdout


SPLITS_OF_OTHER_TEXT = {
    "operator/argosy/engine_version.py": "a container image",
    "operator/argosy/api/kinds.py": "an apiVersion, group/version",
    "operator/argosy/cli/screens/validation.py": "a model's id at Hugging Face",
    "operator/argosy/control/adoption/command_line.py": "the path of a program",
    "operator/argosy/control/candidates/calibration.py": "a container image",
    "operator/argosy/control/hardware/declared.py": "the name of an extended resource",
    "operator/argosy/files/manifests/reading.py": "an apiVersion, group/version",
    "operator/argosy/kube/failures.py": "a resource with its subresource",
    "operator/argosy/perf/catalogue/__init__.py": "a model's id at Hugging Face",
    "operator/argosy/perf/profiles/forms.py": "the key of a profile",
    "operator/argosy/snapshot/scaling/autoscalers.py": "an apiVersion, group/version",
    "sim/argosy_sim/attached_stage.py": "what kubectl names an object, kind/name",
    "sim/argosy_sim/demo/pods/survey.py": "a container image",
    "sim/argosy_sim/livefleet/host/trial.py": "the path of a request",
    "sim/argosy_sim/livefleet/kubelet/log_endpoint.py": "the path of a request",
    "sim/argosy_sim/livefleet/vllm/adapters.py": "the source of an adapter, a path or a name",
}
"""Text with a slash in it that names no object."""


def _splits(tree: ast.AST) -> list[str]:
    """Calls that cut text at a slash, and f-strings that join a namespace and a name with one."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            cuts = node.func.attr in ("split", "rsplit", "partition", "rpartition")
            if cuts and any(isinstance(a, ast.Constant) and a.value == "/" for a in node.args):
                found.append(ast.unparse(node))
        if isinstance(node, ast.JoinedStr):
            text = ast.unparse(node)
            if re.search(r"^f?.\{[^{}]*namespace[^{}]*\}/\{[^{}]*\}.$", text):
                found.append(text)
    return found


def test_only_keys_cuts_and_joins_a_namespace_and_a_name() -> None:
    found = {
        str(file.relative_to(ROOT)): cuts
        for folder in ("operator/argosy", "sim/argosy_sim")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if (cuts := _splits(ast.parse(file.read_text())))
    }
    assert found.pop("operator/argosy/keys.py")
    assert found.keys() == SPLITS_OF_OTHER_TEXT.keys()
