"""`argosy plan` with profiles of one's own: ConfigMaps among the files count as they do in a cluster."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import yaml
from plan_command import EXAMPLES, run_plan
from profile_files import a_profile_file

SLOW_L40S = a_profile_file("llama-3.1-8b", "L40S", slowness=100.0)
SHIPPED = {("default/chat", "l40s"): 3, ("default/batch", "l40s"): 1}
"""What the shipped profiles make of the small example (tests/unit/cli/test_plan.py)."""


def run(cache: Path, *paths: Path, as_json: bool = False) -> tuple[int, str]:
    flags = ["--json"] if as_json else []
    return run_plan(cache, EXAMPLES / "small", *paths, EXAMPLES / "nodes.yaml", *flags)


def replicas(cache: Path, *paths: Path) -> dict[tuple[str, str], int]:
    _, text = run(cache, *paths, as_json=True)
    rows = json.loads(text)["spec"]["deployments"]
    return {(row["sharingGroup"], row["pool"]): row["replicas"] for row in rows}


def written(folder: Path, *config_maps: dict[str, object]) -> Path:
    """The small example's model, naming the key profile.json of `measured`; and these ConfigMaps."""
    [model] = yaml.safe_load_all((EXAMPLES / "small" / "model.yaml").read_text())
    model["spec"]["profiles"] = [{"configMap": "measured"}]
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump_all([model, *config_maps]))
    return path


def a_config_map(
    name: str = "measured", namespace: str | None = None, **content: object
) -> dict[str, object]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **content}


AS_TEXT = {"data": {"profile.json": SLOW_L40S.decode()}}
AS_BYTES = {"binaryData": {"profile.json": base64.b64encode(SLOW_L40S).decode()}}


@pytest.mark.parametrize(
    "config_map",
    [
        pytest.param(a_config_map(**AS_TEXT), id="as text, without a namespace"),
        pytest.param(a_config_map(namespace="default", **AS_BYTES), id="as bytes, in the model's namespace"),
    ],
)
def test_a_profile_among_the_files_decides_the_plan(
    cache: Path, tmp_path: Path, config_map: dict[str, object]
) -> None:
    path = written(tmp_path, config_map)
    assert {pool for _, pool in replicas(cache, path)} == {"h100"}
    words = " ".join(run(cache, path)[1].split())
    assert (
        "ServedModel default/llama-8b: ResolvedRefs is True, but spec.profiles[0]: by this profile of"
        " llama-3.1-8b bf16 on L40S TP1, decode iterations take 77 times and prefill iterations take 150"
        " times as long as Argosy's own figures say (MeasuredTable)."
    ) in words


def test_a_profile_of_no_variant_is_told_with_the_variants_of_the_model(cache: Path, tmp_path: Path) -> None:
    of_two = a_profile_file("llama-3.1-8b", "L40S", slowness=100.0, tp=2)
    path = written(tmp_path, a_config_map(data={"profile.json": of_two.decode()}))
    words = " ".join(run(cache, path)[1].split())
    assert (
        "ResolvedRefs is True, but spec.profiles[0]: the profile is of llama-3.1-8b bf16 on L40S TP2 and"
        " has no effect: the model's variants are bf16 on H100 TP1, bf16 on L40S TP1."
    ) in words
    assert replicas(cache, path) == SHIPPED


@pytest.mark.parametrize(
    ("config_maps", "said"),
    [
        pytest.param((), "there is no key profile.json in a ConfigMap measured", id="no ConfigMap"),
        pytest.param(
            (a_config_map(namespace="other", **AS_TEXT),), "there is no key", id="in another namespace"
        ),
        pytest.param((a_config_map(data={"other": "x"}),), "there is no key", id="under another key"),
        pytest.param((a_config_map(data={"profile.json": "{"}),), "broken JSON", id="cut off"),
        pytest.param((a_config_map(data=None, binaryData=[]),), "there is no key", id="nothing in it"),
        pytest.param(({"kind": "ConfigMap", **AS_TEXT},), "there is no key", id="a ConfigMap without a name"),
    ],
)
def test_a_profile_that_cannot_be_used_is_told_and_the_shipped_one_decides(
    cache: Path, tmp_path: Path, config_maps: tuple[dict[str, object], ...], said: str
) -> None:
    path = written(tmp_path, *config_maps)
    code, text = run(cache, path)
    words = " ".join(text.split())
    assert code == 0
    assert f"ServedModel default/llama-8b: ResolvedRefs is False: spec.profiles[0]: {said}" in words.replace(
        "measured/profile.json: ", ""
    )
    assert replicas(cache, path) == SHIPPED


def test_the_example_holds_a_profile_of_the_small_examples_model(cache: Path) -> None:
    code, text = run(cache, EXAMPLES / "profiles")
    assert (code, "ResolvedRefs" in text) == (0, False)
    assert replicas(cache, EXAMPLES / "profiles") == SHIPPED  # it is one of H100, which is not cheapest
    [small] = yaml.safe_load_all((EXAMPLES / "small" / "model.yaml").read_text())
    [own] = yaml.safe_load_all((EXAMPLES / "profiles" / "model.yaml").read_text())
    assert own["spec"].pop("profiles") == [{"configMap": "llama-8b-h100"}]
    assert own == small
