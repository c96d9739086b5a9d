"""The images that were built: what runs in them, as whom, and how large they are."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

TAG = os.environ.get("TAG") or "dev"
OPERATOR = f"argosy-operator:{TAG}"
UNPACKED_LIMIT = 1_000_000_000
COMPRESSED_LIMIT = 400_000_000
# As a pod with a restricted security context gets it, without even a writable /tmp.
RESTRICTED = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")

pytestmark = pytest.mark.timeout(300)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(code: str, *flags: str) -> str:
    return docker("run", *RESTRICTED, *flags, "--entrypoint=python3", OPERATOR, "-c", code)


def test_the_operators_image_is_small_enough() -> None:
    assert int(docker("image", "inspect", "--format={{.Size}}", OPERATOR)) < UNPACKED_LIMIT
    command = f"docker save {OPERATOR} | gzip -1 | wc -c"
    packed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert 0 < int(packed.stdout) < COMPRESSED_LIMIT


@pytest.mark.parametrize("image", ["argosy-operator", "argosy-simulator", "argosy-envoy"])
def test_no_image_runs_as_root(image: str) -> None:
    assert docker("image", "inspect", "--format={{.Config.User}}", f"{image}:{TAG}").strip() == "65532:65532"


def test_the_command_runs_without_a_writable_file_system() -> None:
    assert docker("run", *RESTRICTED, OPERATOR, "version").strip()


def test_the_engines_simulation_is_compiled_in_the_image_and_loaded_from_there() -> None:
    code = "from argosy.engine import twin; twin.warm_up()"
    said = python(code, "--env=NUMBA_DEBUG_CACHE=1")
    assert "data loaded from '/opt/argosy/numba" in said
    assert "saved" not in said


def test_the_simulator_is_not_in_the_operators_image() -> None:
    with pytest.raises(AssertionError, match="No module named 'argosy_sim'"):
        python("import argosy_sim")


def test_the_bill_of_materials_names_what_is_installed() -> None:
    bill = json.loads(docker("run", *RESTRICTED, "--entrypoint=cat", OPERATOR, "/opt/argosy/sbom.cdx.json"))
    named = {each["name"]: each["version"] for each in bill["components"]}
    installed = python(
        "import importlib.metadata as m; print(m.version('ortools'), m.version('kopf'))"
    ).split()
    assert [named["ortools"], named["kopf"]] == installed
    assert any(each["purl"].startswith("pkg:deb/") for each in bill["components"])


def test_an_engine_that_cannot_start_ends_with_its_reason() -> None:
    with pytest.raises(AssertionError, match="ARGOSY_SIM_GPU is not set"):
        docker("run", *RESTRICTED, f"argosy-simulator:{TAG}", "--model", "meta-llama/Llama-3.1-8B-Instruct")
