"""`argosy plan`: the operator's decision from files."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from perf_command import ran
from plan_command import EXAMPLES, run_plan

from argosy.cli.screens import plan as plan_screen
from argosy.control.step import step
from argosy.files.capacities import read_capacities
from argosy.plan.problem import PlanProblem
from argosy.plan.solution import Plan
from argosy.plan.solve import solve
from argosy.plan.solver.search import SolveLimits

OBSERVING = """
apiVersion: argosy.dev/v1alpha1
kind: Fleet
metadata: {name: default}
spec: {mode: Observe}
"""


def test_the_small_example_takes_three_l40s_for_chat_and_one_for_batch(cache: Path) -> None:
    code, text = run_plan(cache, EXAMPLES / "small", EXAMPLES / "nodes.yaml", "--json")
    spec = json.loads(text)["spec"]
    found = {(d["sharingGroup"], d["pool"]): d["replicas"] for d in spec["deployments"]}
    assert (code, found) == (0, {("default/chat", "l40s"): 3, ("default/batch", "l40s"): 1})


def test_the_printed_plan_gives_its_reasons_and_what_was_not_taken(cache: Path) -> None:
    code, text = run_plan(cache, EXAMPLES / "small", EXAMPLES / "nodes.yaml")
    words = " ".join(text.split())
    assert code == 0
    assert "default/chat has a demand of 8.0 req/s" in words
    assert "not taken: default/chat on" in words


def test_without_nodes_the_exit_code_is_3_and_the_missing_nodes_are_named(cache: Path) -> None:
    code, text = run_plan(cache, EXAMPLES / "small")
    words = " ".join(text.split())
    assert code == 3
    assert "GPUPool l40s: Ready is False: spec.nodeSelector: no usable node carries" in words


def test_without_nodes_the_labels_to_add_are_said_on_standard_error() -> None:
    found = ran("plan", str(EXAMPLES / "small"), "--json")
    assert (found.code, json.loads(found.stdout)["kind"]) == (3, "FleetPlan")
    assert found.stderr == (
        "argosy plan: the files hold no Node, so nothing can be placed; add the file that"
        " `kubectl get nodes -o yaml` prints, or one like examples/nodes.yaml. Labels and GPUs that the nodes"
        " of each pool need: GPUPool h100: nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3 and 2 nvidia.com/gpu;"
        " GPUPool l40s: nvidia.com/gpu.product=NVIDIA-L40S and 2 nvidia.com/gpu\n"
    )


def test_the_large_example_is_served_by_its_nodes(cache: Path) -> None:
    code, text = run_plan(cache, EXAMPLES / "large", EXAMPLES / "large-nodes.yaml", "--json")
    spec = json.loads(text)["spec"]
    assert code == 0
    assert {cell["workloadClass"] for cell in spec["cells"]} == {
        f"default/{name}" for name in ("chat", "batch", "premium", "large-model", "summaries", "experiments")
    }
    assert {cell["unservedShare"] for cell in spec["cells"]} == {0}


def test_without_nodes_the_document_is_the_plan_with_its_shortfalls(cache: Path) -> None:
    code, text = run_plan(cache, EXAMPLES / "small", "--json")
    assert code == 3
    assert [cell["unservedShare"] for cell in json.loads(text)["spec"]["cells"]] == [1, 1]


def renamed(folder: Path, file: str, old: str, new: str) -> Path:
    """A file of the small example in which a name is another one."""
    text = (EXAMPLES / "small" / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return folder / file


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        pytest.param(
            "model.yaml", "Llama-3.1-8B", "Lama-9", "ServedModel default/llama-8b: Ready", id="model"
        ),
        pytest.param(
            "classes.yaml", "- name: llama-8b", "- name: nonesuch", "WorkloadClass default/", id="reference"
        ),
        pytest.param("pools.yaml", "gpu: H100", "gpu: H1000", "GPUPool h100: ", id="gpu"),
    ],
)
def test_an_unknown_name_is_bad_input(
    tmp_path: Path, flags: tuple[str, ...], file: str, old: str, new: str, said: str
) -> None:
    files = [EXAMPLES / "small", EXAMPLES / "nodes.yaml", renamed(tmp_path, file, old, new)]
    found = ran("plan", *map(str, files), *flags)
    assert found.code == 2
    assert f"argosy plan: {said}" in found.stderr
    messages = [line.partition(" is False: ")[::2] for line in found.stderr.splitlines()]
    about = [(subject.rpartition(": ")[0], message) for subject, message in messages]
    assert len(about) == len(set(about)), "one fault of one object is said once"
    assert new.split()[-1] in found.stderr
    assert not flags or json.loads(found.stdout)["kind"] == "FleetPlan"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("", "FILES: no WorkloadClass", id="no class"),
        pytest.param("kind: GPUPool\n", "GPUPool ", id="an object that is not valid"),
        pytest.param("a: [", "cannot be read as YAML or JSON", id="no YAML"),
        pytest.param(OBSERVING, "Fleet default: spec.mode: Observe makes no plan", id="a fleet in Observe"),
    ],
)
def test_files_that_cannot_be_planned_for_are_bad_input(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "odd.yaml").write_text(content)
    files = [str(EXAMPLES / "small")] * (content == OBSERVING) + [str(tmp_path)]
    found = ran("plan", *files, "--json")
    assert found.code == 2
    error = json.loads(found.stdout)["error"]
    assert says in error["message"]
    assert found.stderr.endswith(f"argosy plan: {error['message']}\n")


@pytest.mark.parametrize(
    ("metadata", "shown"), [("generateName: gpu-", "(no name)"), ("name: 3", "3")], ids=["none", "a number"]
)
def test_a_node_that_cannot_be_named_in_a_plan_is_bad_input(
    tmp_path: Path, metadata: str, shown: str
) -> None:
    nodes = (EXAMPLES / "nodes.yaml").read_text()
    assert "      name: l40s-0\n" in nodes
    (tmp_path / "nodes.yaml").write_text(nodes.replace("      name: l40s-0\n", f"      {metadata}\n"))
    found = ran("plan", str(EXAMPLES / "small"), str(tmp_path))
    assert (found.code, found.stdout) == (2, "")
    assert found.stderr == (
        f"argosy plan: Node {shown}: metadata.name must be at most 253 lower-case letters, digits, '-' and"
        " '.', as in chat-eu\n"
    )


def without_replicas(problem: PlanProblem, limits: SolveLimits) -> Plan:
    """A plan that its independent check rejects."""
    return replace(solve(problem, limits), replicas={})


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["text", "json"])
def test_a_plan_that_fails_its_check_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setattr(plan_screen, "step", partial(step, solver=without_replicas))
    found = ran("plan", str(EXAMPLES / "small"), str(EXAMPLES / "nodes.yaml"), *flags)
    assert found.code == 3
    assert found.stderr.startswith("argosy plan: the plan failed its independent check: ")
    said = found.stderr.removeprefix("argosy plan: ").removesuffix("\n")
    error = {"reason": "CheckFailed", "message": said, "nearest": []}
    assert (json.loads(found.stdout) if flags else found.stdout) == ({"error": error} if flags else "")


def test_measured_capacities_are_kept_for_the_next_command(tmp_path: Path) -> None:
    files, kept = (EXAMPLES / "small", EXAMPLES / "nodes.yaml"), tmp_path / "argosy" / "capacities.json"
    first = run_plan(tmp_path, *files)
    capacities, written = read_capacities(kept), kept.stat()
    assert (first[0], len(capacities) > 0) == (0, True)
    assert run_plan(tmp_path, *files) == first
    again = kept.stat()
    assert (again.st_ino, again.st_mtime_ns) == (written.st_ino, written.st_mtime_ns), "none is measured anew"
