"""The simulated engine as a container's process."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from argosy.errors import SpecError
from argosy_sim.controlplane.host.ports import free_ports
from argosy_sim.livefleet.container.engine import engine_of

L40S = {"ARGOSY_SIM_GPU": "NVIDIA-L40S"}
MODEL = ["--model", "meta-llama/Llama-3.1-8B-Instruct", "--served-model-name", "llama-8b"]
PATIENCE_S = 60.0


def test_without_a_setting_an_engine_loads_as_long_as_its_weights_take() -> None:
    engine = engine_of(MODEL, L40S)
    assert engine.load_s >= 15
    assert engine.port == 8000
    assert engine.profile.served_names == ("llama-8b",)


def test_a_model_that_does_not_fit_ends_the_engine_with_the_sentence_of_the_planner() -> None:
    with pytest.raises(SpecError, match="GB"):
        engine_of(["--model", "meta-llama/Llama-3.1-70B-Instruct"], L40S)


def test_bad_arguments_end_the_engine() -> None:
    with pytest.raises(SpecError, match="argument --port"):
        engine_of([*MODEL, "--port", "many"], L40S)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", ""])
def test_a_loading_time_that_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="no number of seconds"):
        engine_of(MODEL, {**L40S, "ARGOSY_SIM_LOAD_SECONDS": text})


@pytest.fixture
def process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "argosy_sim.livefleet.container", *MODEL, "--port", str(port)]
    environment = {**os.environ, **L40S, "ARGOSY_SIM_LOAD_SECONDS": "0"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        yield running, f"http://127.0.0.1:{port}"
        running.kill()


def answer(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as found:
        data: bytes = found.read()
    return data


def wait_until_it_serves(url: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer(f"{url}/health")
        except urllib.error.URLError:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        else:
            return


def test_the_process_serves_and_ends_by_sigterm(process: tuple[subprocess.Popen[str], str]) -> None:
    running, url = process
    wait_until_it_serves(url)
    body = b'{"model": "llama-8b", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}'
    assert b"choices" in answer(f"{url}/v1/chat/completions", body)
    with urllib.request.urlopen(f"{url}/v1/models", timeout=PATIENCE_S) as found:
        # It does not know which of a pod's addresses a client reached: Envoy adds that.
        assert "x-argosy-endpoint" not in found.headers
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0
    assert output.splitlines()[-1] == "INFO shut down"
