"""Fetches the schemas by which tests judge what Argosy writes, from pinned Go modules (350 MB, minutes).

    tests/data/kubernetes/schemas.json.gz   Kubernetes 1.29 to the version of hack/tools/kubernetes: the
                                            kinds that Argosy writes, from each version's OpenAPI document;
                                            at each field what its description says of its stage, and the
                                            feature gates that its Go type names; which gates are on
    tests/data/kubernetes/crds/*.yaml       cert-manager's and the Prometheus Operator's definitions

Descriptions, which are most of both, are left out. Each file names its modules and their checksums. All
of them are under the Apache licence 2.0. Run it by `make schemas` after a new version was pinned, here or
in hack/tools.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data" / "kubernetes"
SCHEMAS = DATA / "schemas.json.gz"
CRDS = DATA / "crds"
OLDEST_MINOR = 29
KINDS = {
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition"},
    "admissionregistration.k8s.io/v1": {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
    "apps/v1": {"Deployment", "DaemonSet", "ReplicaSet"},
    "authorization.k8s.io/v1": {"SelfSubjectAccessReview", "SubjectAccessReview"},
    "autoscaling/v1": {"Scale"},
    "autoscaling/v2": {"HorizontalPodAutoscaler"},
    "batch/v1": {"Job"},
    "coordination.k8s.io/v1": {"Lease"},
    "networking.k8s.io/v1": {"NetworkPolicy"},
    "policy/v1": {"PodDisruptionBudget"},
    "rbac.authorization.k8s.io/v1": {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"},
    "v1": {"ConfigMap", "Event", "Namespace", "Node", "Pod", "Secret", "Service", "ServiceAccount"},
}
"""What is kept of Kubernetes: a kind that is missing here is refused by the tests."""
OTHERS = (
    ("github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/cert-manager.io_", ("certificates",)),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_",
        ("servicemonitors", "podmonitors", "prometheusrules"),
    ),
)
INLINE = "inline "
"""Before the name of a Go type whose fields are those of the type that holds it."""
REFERENCE = "#/definitions/"
STAGE = re.compile(r"\balpha\b|\bbeta\b|feature[- ]gate", re.IGNORECASE)
GATE = re.compile(r"^\t(?:\w+\.)?(\w+): +\{(?:Default|\n)")
SETTING = re.compile(r"Default: +(true|false)")
KEPT = ("type", "format", "enum", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")
"""Of a schema, beside what it is made of."""


@dataclass(frozen=True)
class Module:
    """An unpacked Go module. total: its checksum, which `go` has compared with its public record."""

    name: str
    total: str
    folder: Path


@contextmanager
def module(name: str) -> Iterator[Module]:
    """A module by `path@version`, in a cache that is removed afterwards. Raises where `go` fails."""
    go = shutil.which("go")
    if go is None:
        sys.exit("no go on the PATH: install one, such as by pip install 'argosy[go]'")
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "GOMODCACHE": cache, "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
        command = [go, "mod", "download", "-json", name]
        answer = subprocess.run(command, cwd=cache, env=environment, check=True, capture_output=True)
        found = json.loads(answer.stdout)
        sys.stdout.write(f"{name} {found['Sum']}\n")
        yield Module(name, found["Sum"], Path(found["Dir"]))


def pinned() -> dict[str, str]:
    """The module of each minor version of Kubernetes: its first release, or the one that runs."""
    text = (ROOT / "hack" / "tools" / "kubernetes" / "go.mod").read_text("utf-8")
    newest = re.search(r"k8s\.io/kubernetes v1\.(\d+)\.\d+", text)
    assert newest is not None
    versions = {f"1.{minor}": f"v1.{minor}.0" for minor in range(OLDEST_MINOR, int(newest[1]))}
    versions[f"1.{newest[1]}"] = newest[0].split()[1]
    return {minor: f"k8s.io/kubernetes@{version}" for minor, version in versions.items()}


def compact(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without its words, but for those on a field's stage."""
    kept = {key: schema[key] for key in KEPT if key in schema}
    if "$ref" in schema:
        kept["$ref"] = schema["$ref"].removeprefix(REFERENCE)
    if "properties" in schema:
        kept["properties"] = {name: compact(each) for name, each in schema["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            kept[inner] = compact(schema[inner])
    if stage := stage_of(schema.get("description", "")):
        kept["stage"] = stage
    return kept


def stage_of(description: str) -> str:
    """The sentences that call a field alpha or beta or name a feature gate."""
    sentences = re.split(r"(?<=\.)\s+", " ".join(description.split()))
    return " ".join(each for each in sentences if STAGE.search(each))


def roots(definitions: dict[str, Any]) -> dict[str, str]:
    """Of the kept kinds that a version has: `apiVersion kind` to the name of its definition."""
    found = {}
    for name, schema in definitions.items():
        for each in schema.get("x-kubernetes-group-version-kind", ()):
            version = "/".join(filter(None, (each["group"], each["version"])))
            if each["kind"] in KINDS.get(version, ()):
                found[f"{version} {each['kind']}"] = name
    return found


def reachable(definitions: dict[str, Any], first: list[str]) -> dict[str, dict[str, Any]]:
    """The compact definitions that these refer to, directly or not."""
    found: dict[str, dict[str, Any]] = {}
    waiting = list(first)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = compact(definitions[name])
            waiting += re.findall(r'"\$ref": "([^"]+)"', json.dumps(found[name]))
    return found


def marked(folder: Path) -> dict[str, dict[str, str]]:
    """Of k8s.io/api: the feature gates that Go types name, by definition and field."""
    found: dict[str, dict[str, str]] = {}
    for file in folder.glob("*/*/types.go"):
        prefix, struct, waiting = ".".join(file.parent.relative_to(folder).parts), "", list[str]()
        for line in file.read_text("utf-8").splitlines():
            if begun := re.match(r"type (\w+) struct {", line):
                struct = f"io.k8s.api.{prefix}.{begun[1]}"
                found[struct] = {}
            elif gate := re.match(r"\s*// (\+featureGate=\w+)", line):
                waiting.append(gate[1])
            elif inlined := re.match(r"\s*(\w+)\s+`json:\",inline\"", line):
                found[struct][INLINE + inlined[1]] = f"io.k8s.api.{prefix}.{inlined[1]}"
            elif struct and (named := re.search(r'`json:"(\w+)', line)):
                if waiting:
                    found[struct][named[1]] = " ".join(waiting)
                waiting = []
    return found


def mark(definitions: dict[str, Any], markers: dict[str, dict[str, str]]) -> None:
    """Add the gates of the Go types to the stages of compact definitions."""
    for name, schema in definitions.items():
        waiting = [name]
        while waiting:
            for field, gate in markers.get(waiting.pop(), {}).items():
                if field.startswith(INLINE):
                    waiting.append(gate)
                elif field in schema.get("properties", {}):
                    known = schema["properties"][field]
                    known["stage"] = f"{known.get('stage', '')} {gate}".strip()


def gates(folder: Path) -> dict[str, bool]:
    """Every feature gate that a version lists, and whether it is on by default: the last setting of each."""
    found: dict[str, bool] = {}
    for file in sorted((folder / "pkg" / "features").glob("*kube_features.go")):
        name = ""
        for line in file.read_text("utf-8").splitlines(keepends=True):
            if begun := GATE.match(line):
                name = begun[1]
            elif line.startswith("\t}"):
                name = ""
            if name and (setting := SETTING.search(line)):
                found[name] = setting[1] == "true"
    return found


def of_kubernetes() -> dict[str, Any]:
    """The content of the file for Kubernetes. Equal definitions of several versions are there once."""
    document: dict[str, Any] = {"modules": {}, "kinds": {}, "gates": {}}
    merged: dict[str, list[dict[str, Any]]] = {}
    for minor, name in pinned().items():
        with module(name) as found:
            text = (found.folder / "api" / "openapi-spec" / "swagger.json").read_text("utf-8")
            definitions = json.loads(text)["definitions"]
            listed = gates(found.folder)
        document["modules"][minor] = f"{found.name} {found.total}"
        document["kinds"][minor] = roots(definitions)
        kept = reachable(definitions, list(document["kinds"][minor].values()))
        with module(name.replace("k8s.io/kubernetes@v1", "k8s.io/api@v0")) as types:
            mark(kept, marked(types.folder))
        named = set(
            re.findall(r"\w+", " ".join(re.findall(r'"stage": "((?:[^"\\]|\\.)*)"', json.dumps(kept))))
        )
        document["gates"][minor] = {gate: listed[gate] for gate in sorted(named & listed.keys())}
        for definition, schema in kept.items():
            same = [each for each in merged.setdefault(definition, []) if each["schema"] == schema]
            if same:
                same[0]["versions"].append(minor)
            else:
                merged[definition].append({"versions": [minor], "schema": schema})
    return {**document, "definitions": merged}


def without_descriptions(value: Any) -> Any:
    """A custom resource's definition without the words of its schema; a field called description stays."""
    if isinstance(value, list):
        return [without_descriptions(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_descriptions(each)
        for key, each in value.items()
        if not (key == "description" and isinstance(each, str))
    }


def main() -> None:
    """Write every file."""
    CRDS.mkdir(parents=True, exist_ok=True)
    for name, prefix, plurals in OTHERS:
        with module(name) as found:
            for plural in plurals:
                file = found.folder / f"{prefix}{plural}.yaml"
                text = yaml.safe_dump(without_descriptions(yaml.safe_load(file.read_text("utf-8"))))
                origin = f"# {found.name} {found.total}\n# {prefix}{plural}.yaml, without descriptions"
                (CRDS / file.name).write_text(f"{origin}; Apache-2.0\n{text}", "utf-8")
    text = json.dumps(of_kubernetes(), sort_keys=True, separators=(",", ":"))
    SCHEMAS.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
