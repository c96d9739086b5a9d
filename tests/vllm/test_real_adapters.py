"""LoRA adapters on a real engine: loaded and unloaded by vLLM's own API, without a restart."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from openai import OpenAI
from operator_stage import OURS, OperatorStage, condition, until, until_equal

from argosy_sim.livefleet.runtime.installation import VllmInstallation
from argosy_sim.livefleet.state import FleetLayout

LOADED_S = 300.0
PATH = f"{OURS}/namespaces/default/servedmodels/tiny"
LOAD_REQUEST = '"POST /v1/load_lora_adapter '
MAKE = Path(__file__).with_name("make_adapter.py")
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def source(vllm: VllmInstallation, tmp_path: Path) -> str:
    """An adapter of rank 8, as a path."""
    folder = tmp_path / "poet"
    subprocess.run([str(vllm.python), str(MAKE), str(folder), "8"], check=True, capture_output=True)
    return str(folder)


def states(stage: OperatorStage) -> dict[str, str]:
    status = stage.read(PATH).get("status", {})
    return {each["name"]: each["state"] for each in status.get("adapters", ())}


def pods(stage: OperatorStage) -> set[tuple[str, int]]:
    """The class's pods, each with the restarts of its engine."""
    return {
        (pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in stage.pods("chat")
    }


def load_requests(stage: OperatorStage, pod_names: set[str]) -> dict[str, list[str]]:
    """The lines of each pod's log with a request to load an adapter; logs outlive their pods."""
    found: dict[str, list[str]] = {name: [] for name in pod_names}
    for log in FleetLayout(stage.stage.fleet_dir).pods.glob("*/*.log"):
        name = log.parent.name.split("_")[1]
        if name in found:
            found[name] += [line for line in log.read_text().splitlines() if LOAD_REQUEST in line]
    return found


def test_adapters_load_and_unload_on_a_real_engine_without_a_restart(
    real_stage: OperatorStage, source: str
) -> None:
    client = OpenAI(base_url=f"{real_stage.stage.gateway_url}/v1", api_key="none", max_retries=0)

    def answer(model: str) -> str:
        asked = client.completions.create(model=model, prompt="The sea", max_tokens=8, temperature=0)
        return str(asked.choices[0].text)

    before = pods(real_stage)
    poet = {"name": "poet", "source": source, "rank": 8}
    lost = {"name": "lost", "source": "/no/such/adapter", "rank": 8}
    real_stage.patch("smodel", "tiny", engine={"maxLoras": 2, "maxLoraRank": 8}, adapters=[poet])
    real_stage.patch("wclass", "chat", minReplicas=1, match={"models": ["tiny", "poet"]})
    until(lambda: states(real_stage) == {"poet": "Loaded"}, "the adapter to be loaded", 2 * LOADED_S)
    until(lambda: not pods(real_stage) & before, "the engine without adapters to go", LOADED_S)
    settled = pods(real_stage)
    started_without, started_with = ({name for name, _ in each} for each in (before, settled))
    asked = load_requests(real_stage, started_without | started_with)
    assert not any(asked[name] for name in started_without), "an engine without LoRA has no such API"
    assert all(asked[name] for name in started_with), "vLLM logs each request"
    assert answer("poet") != answer("tiny")
    assert {"tiny", "poet"} <= {each.id for each in client.models.list()}

    real_stage.patch("smodel", "tiny", adapters=[poet, lost])
    real_stage.patch("wclass", "chat", match={"models": ["tiny", "poet", "lost"]})
    expected = {"poet": "Loaded", "lost": "Failed"}
    until_equal(expected, lambda: states(real_stage), "one that is not there to fail")
    told = condition(real_stage.read(PATH), "AdaptersReady")
    assert "lost" in told["message"], told
    real_stage.patch("wclass", "chat", match={"models": ["tiny", "lost"]})
    real_stage.patch("smodel", "tiny", adapters=[lost])
    until_equal({"lost": "Failed"}, lambda: states(real_stage), "the adapter to be unloaded")
    real_stage.patch("wclass", "chat", match={"models": ["tiny"]})
    real_stage.patch("smodel", "tiny", adapters=[])
    assert pods(real_stage) == settled
    assert answer("tiny")
