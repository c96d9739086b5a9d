"""`argosy perf capacities`: figures that are kept, exit codes, and names of classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from perf_command import ran, refused

from argosy.cli.screens.capacities import engines_of, headings
from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.snapshot import EngineSettings, Variant

EXAMPLES = Path(__file__).parents[4] / "examples/small"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param(["classes.yaml"], "no variant", id="classes-alone"),
        pytest.param(["model.yaml", "classes.yaml"], "no variant", id="no-pool"),
        pytest.param(["pools.yaml", "model.yaml"], "no WorkloadClass", id="no-class"),
    ],
)
def test_files_without_a_variant_or_a_class_are_bad_input(files: list[str], said: str) -> None:
    assert said in refused("capacities", *(str(EXAMPLES / name) for name in files))["message"]


def test_an_engine_takes_nothing_longer_than_its_profile_answers_for() -> None:
    """A roofline of Qwen3 ends at the 40,960 tokens of the model, even where vLLM allows more."""
    perf = LibraryPerfModel(shipped_library(), {})
    allow = (("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"),)
    settings = [EngineSettings(max_model_len=tokens, env=allow) for tokens in (8192, 65_536)]
    variants = [Variant(ModelKey("ns/m"), "Qwen/Qwen3-32B", (), "pool", "L40S", 8, each) for each in settings]
    engines, refused = engines_of(variants, perf)
    assert refused == {}
    assert [engines[variant.name].limits.max_model_len for variant in variants] == [8192, 40_960]


def test_classes_of_one_name_keep_their_namespace() -> None:
    assert headings(["a/chat", "b/chat", "a/batch"]) == ["a/chat", "b/chat", "batch"]


def test_capacities_of_all_variants_are_shown_and_kept(own_cache: Path) -> None:
    found = ran("perf", "capacities", str(EXAMPLES))
    assert (found.code, found.stderr) == (0, ""), "a pipe gets no progress bar"
    kept = sorted((own_cache / "argosy/surfaces").iterdir())
    rows = [line.split() for line in found.stdout.splitlines() if "-tp1-" in line]
    assert len(rows) == len(kept) >= 2
    assert all(float(rate.rstrip("*")) > 0 for row in rows for rate in row[1:])
    assert ran("perf", "capacities", str(EXAMPLES)) == found
    document = json.loads(ran("perf", "capacities", str(EXAMPLES), "--json").stdout)
    assert [each["name"] for each in document["variants"]] == [row[0] for row in rows]
    shown = [[f"{each['requests_per_s']:.2f}" for each in one["classes"]] for one in document["variants"]]
    assert shown == [[rate.rstrip("*") for rate in row[1:]] for row in rows]
    assert (document["refused"], document["uncarried"]) == ([], [])


def test_a_class_that_no_variant_carries_ends_with_exit_code_3(tmp_path: Path) -> None:
    [model] = yaml.safe_load_all((EXAMPLES / "model.yaml").read_text())
    too_large = {**model, "spec": {**model["spec"], "modelId": "meta-llama/Llama-3.1-405B"}}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(too_large))
    files = [str(EXAMPLES), str(tmp_path / "model.yaml")]
    found, document = ran("perf", "capacities", *files), ran("perf", "capacities", *files, "--json")
    assert (found.code, document.code) == (3, 3)
    assert "default/chat: no variant carries it within its SLO" in found.stdout
    assert sorted(json.loads(document.stdout)["uncarried"]) == ["default/batch", "default/chat"]
    assert json.loads(document.stdout)["variants"] == []
