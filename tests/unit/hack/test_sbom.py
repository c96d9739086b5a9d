"""The bill of materials that is made when an image is built."""

import importlib.util
import re
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "hack" / "images" / "sbom.py"


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_python_package_is_named_by_its_url_and_the_hash_of_its_files(sbom: ModuleType) -> None:
    found = sbom.python_component(distribution("PyYAML"))
    assert re.fullmatch(r"pkg:pypi/pyyaml@[0-9.]+", found["purl"])
    assert re.fullmatch(r"[0-9a-f]{64}", found["hashes"][0]["content"])


def test_a_debian_version_is_quoted_in_its_url(sbom: ModuleType) -> None:
    [found] = sbom.debian_components("libc6 2.36-9+deb12u14 amd64\n", "debian")
    assert found["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64"
    assert found["version"] == "2.36-9+deb12u14"


def test_the_document_lists_every_component_once_and_in_one_order(sbom: ModuleType) -> None:
    parts = sbom.debian_components("b 1 all\na 2 amd64\n", "debian")
    document = sbom.document(parts, "0.1.0")
    assert document == sbom.document(parts[::-1], "0.1.0")
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    references = [each["bom-ref"] for each in document["components"]]
    assert references == sorted(set(references))
    assert document["dependencies"][0]["dependsOn"] == references
