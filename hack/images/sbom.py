"""Prints the bill of materials of an image as CycloneDX 1.6 JSON: its Python and its Debian packages.

Runs while the image is built, in the Python environment that the image ships. Input: what is installed.
Output: one document on standard output, the same for the same packages. A package's hash is that of its
RECORD: it tells two builds of one version apart.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]

DPKG_FORMAT = "${Package} ${Version} ${Architecture}\n"


def python_component(found: Distribution) -> Component:
    """One installed distribution."""
    name = found.metadata["Name"].lower().replace("_", "-").replace(".", "-")
    purl = f"pkg:pypi/{name}@{quote(found.version, safe='')}"
    component: Component = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": found.version,
        "purl": purl,
    }
    if record := found.read_text("RECORD"):
        component["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(record.encode()).hexdigest()}]
    if licence := found.metadata.get("License-Expression"):
        component["licenses"] = [{"expression": licence}]
    return component


def debian_components(listing: str, distribution: str) -> list[Component]:
    """Those of `dpkg-query`'s lines: name, version, architecture."""
    components = []
    for line in listing.splitlines():
        name, version, architecture = line.split(" ")
        purl = f"pkg:deb/{distribution}/{name}@{quote(version, safe='')}?arch={architecture}"
        components.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        )
    return components


def document(components: list[Component], version: str) -> Component:
    """The whole bill of the image of Argosy `version`."""
    root = f"pkg:generic/argosy-operator@{version}"
    ordered = sorted(components, key=lambda each: each["bom-ref"])
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": "argosy-operator",
                "version": version,
            }
        },
        "components": ordered,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in ordered]}],
    }


def _distribution() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line.removeprefix("ID=").strip('"') for line in lines if line.startswith("ID=")), "linux")


def _installed_debian() -> list[Component]:
    command = ["dpkg-query", "--show", f"--showformat={DPKG_FORMAT}"]
    try:
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:  # a base image of another distribution
        return []
    return debian_components(listing, _distribution())


def main() -> None:
    """Print the bill of the running environment."""
    found = {each.metadata["Name"]: each for each in distributions()}
    components = [python_component(each) for each in found.values()] + _installed_debian()
    json.dump(document(components, found["argosy"].version), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
