"""Owns where the control plane's programs come from.

Input: the environment. Output: the paths of five programs that fit each other, and of helm.

In this order: KUBEBUILDER_ASSETS, the PATH, the user cache, a build from pinned Go modules.
A machine may have any version, so programs are used only in combinations that Kubernetes supports:

- The four server programs come from one place, and are at least Kubernetes 1.30.
- A setup-envtest directory holds only etcd, the API server and kubectl. Its first two are
  used where the API server has the pinned minor version; the others are then built to match.
- kubectl may be any within one minor version of the API server (Kubernetes' skew policy).
- helm may be any of major version 4; it is no part of a control plane and is asked for alone.

Prometheus and promtool, for tests, come from the PATH if both are there in version 3 or newer.

`python -m argosy_sim.controlplane.binaries` finds or builds all of them (`make setup`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from argosy.errors import ArgosyError
from argosy_sim.controlplane.gobuild import (
    ETCD,
    HELM,
    KEDA,
    KUBERNETES,
    PROMETHEUS,
    GoProgram,
    Say,
    ToolModule,
    Workshop,
    is_executable,
    modules_dir,
    obtain,
    source_of,
)

SERVERS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_MODULE_BY_TOOL: dict[str, tuple[ToolModule, GoProgram]] = {
    tool.name: (module, tool) for module in (ETCD, KUBERNETES, HELM) for tool in module.tools
}

# 1.30: scheduling gates are stable, and so is CEL as the CRDs use it.
_OLDEST_MINOR = 30
# Series names with colons in labels and left-open ranges came with it: rules give other results before.
_OLDEST_PROMETHEUS = 3


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of a control plane, each there and executable."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kubectl: Path


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus server and the tool that judges its rules, of one version."""

    prometheus: Path
    promtool: Path


@dataclass(frozen=True, slots=True)
class Keda:
    """KEDA's operator, and the folder of its CustomResourceDefinitions, of one version."""

    operator: Path
    definitions: Path


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look. `assets` is KUBEBUILDER_ASSETS, None if unset."""

    assets: Path | None
    path: str
    workshop: Workshop

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Places:
        """Read the places from environment variables and from where this file lies."""
        assets = environment.get("KUBEBUILDER_ASSETS")
        cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(
            assets=Path(assets) if assets else None,
            path=environment.get("PATH", ""),
            workshop=Workshop(modules_dir(), cache / "argosy" / "bin", environment),
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """What the machine offers: programs to use, and one reason per place why not more."""

    programs: Mapping[str, Path]
    reasons: tuple[str, ...]


def binaries(say: Say = lambda _: None, places: Places | None = None) -> Binaries:
    """Return every program, building what is nowhere to be found.

    `say` hears what is built, why and how long it usually takes. Raises `MissingBinaryError` with
    the remedy, or `BuildError`.
    """
    places = places or Places.from_environment(os.environ)
    servers = _servers_of_machine(places)
    programs = dict(servers.programs)
    for name in SERVERS:
        if name not in programs:
            programs[name] = _built(places, name, say, "; ".join(servers.reasons))
    kubectl = _kubectl_of_machine(places, _minor(programs["kube-apiserver"]))
    why = "; ".join(kubectl.reasons)
    programs["kubectl"] = kubectl.programs.get("kubectl") or _built(places, "kubectl", say, why)
    return Binaries(**{name.replace("-", "_"): path for name, path in programs.items()})


def prometheus(say: Say = lambda _: None, places: Places | None = None) -> Prometheus:
    """Return Prometheus and promtool: both of the PATH, else both built.

    Raises as `binaries` does.
    """
    places = places or Places.from_environment(os.environ)
    names = tuple(tool.name for tool in PROMETHEUS.tools)
    found = {name: Path(path) for name in names if (path := shutil.which(name, path=places.path))}
    why = _why_not_prometheus(found, names)
    if why:
        found = {t.name: obtain(places.workshop, PROMETHEUS, t, say, why) for t in PROMETHEUS.tools}
    return Prometheus(**found)


def _why_not_prometheus(found: Mapping[str, Path], names: tuple[str, ...]) -> str:
    """Why the PATH's programs cannot be used; empty where they can."""
    missing = [name for name in names if name not in found]
    if missing:
        return "the PATH has no " + " and no ".join(missing)
    versions = {name: _prometheus_version(found[name]) for name in names}
    text = ", ".join(f"{name} {version or 'of unknown version'}" for name, version in versions.items())
    if len(set(versions.values())) != 1:
        return f"the PATH has programs of different versions: {text}"
    version = next(iter(versions.values()))
    is_old = not version or int(version.partition(".")[0]) < _OLDEST_PROMETHEUS
    return f"the PATH has {text}, and version {_OLDEST_PROMETHEUS} is needed" if is_old else ""


def _prometheus_version(program: Path) -> str:
    """`3.5.0` of `prometheus, version 3.5.0 (...)`; empty where it cannot be read."""
    match = re.search(r"version v?(\d+\.\S+)", _output(program, "--version"))
    return match.group(1) if match else ""


def helm(say: Say = lambda _: None, places: Places | None = None) -> Path:
    """Return helm: the PATH's where its major version is 4, else one that is built.

    Raises as `binaries` does.
    """
    places = places or Places.from_environment(os.environ)
    found = shutil.which("helm", path=places.path)
    if found is None:
        return _built(places, "helm", say, "the PATH has no helm")
    version = _output(Path(found), "version", "--template={{.Version}}").strip()
    if re.match(r"v4\b", version):
        return Path(found)
    return _built(places, "helm", say, f"the PATH has helm {version or 'of unknown version'}, not v4")


def keda(say: Say = lambda _: None, places: Places | None = None) -> Keda:
    """Return KEDA's operator, built, and its custom resources: for tests beside it.

    Raises as `binaries` does.
    """
    places = places or Places.from_environment(os.environ)
    (tool,) = KEDA.tools
    operator = obtain(places.workshop, KEDA, tool, say, "no package has it")
    return Keda(operator, source_of(places.workshop, KEDA) / "config" / "crd" / "bases")


def _built(places: Places, name: str, say: Say, why: str) -> Path:
    module, tool = _MODULE_BY_TOOL[name]
    return obtain(places.workshop, module, tool, say, why)


def _servers_of_machine(places: Places) -> _Found:
    reasons: list[str] = []
    for source, lookup in _sources(places):
        found = {name: path for name in SERVERS if (path := lookup(name)) is not None}
        verdict = _why_not(found)
        if verdict is None:
            return _Found(found, ())
        reasons.append(f"{source} {verdict}")
        if source == "KUBEBUILDER_ASSETS" and _matches_pin(found, _pinned_minor(places)):
            return _Found({name: found[name] for name in ("etcd", "kube-apiserver")}, tuple(reasons))
    return _Found({}, tuple(reasons))


def _kubectl_of_machine(places: Places, api_minor: int | None) -> _Found:
    reasons: list[str] = []
    for source, lookup in _sources(places):
        path = lookup("kubectl")
        if path is None:
            reasons.append(f"{source} has no kubectl")
            continue
        minor = _kubectl_minor(path)
        if minor is not None and api_minor is not None and abs(minor - api_minor) <= 1:
            return _Found({"kubectl": path}, ())
        has = "of unknown version" if minor is None else f"1.{minor}"
        wants = "unknown" if api_minor is None else f"1.{api_minor}"
        reasons.append(f"{source} has kubectl {has}, too far from API server {wants}")
    return _Found({}, tuple(reasons))


def _sources(places: Places) -> list[tuple[str, Callable[[str], Path | None]]]:
    assets = places.assets

    def in_assets(name: str) -> Path | None:
        return assets / name if assets is not None and is_executable(assets / name) else None

    def on_path(name: str) -> Path | None:
        found = shutil.which(name, path=places.path)
        return Path(found) if found else None

    named = [("KUBEBUILDER_ASSETS", in_assets)] if assets is not None else []
    return [*named, ("the PATH", on_path)]


def _why_not(found: Mapping[str, Path]) -> str | None:
    """Return why a place's servers cannot be used alone, None if they can."""
    missing = [name for name in SERVERS if name not in found]
    if missing:
        return "has no " + ", ".join(missing)
    minors = {name: _minor(found[name]) for name in SERVERS if name != "etcd"}
    if len(set(minors.values())) != 1:
        return "has servers of different versions: " + ", ".join(
            f"{name} 1.{m}" for name, m in minors.items()
        )
    minor = minors["kube-apiserver"]
    if minor is None:
        return "has servers whose version cannot be read"
    return f"has Kubernetes 1.{minor}, older than 1.{_OLDEST_MINOR}" if minor < _OLDEST_MINOR else None


def _matches_pin(found: Mapping[str, Path], pinned_minor: int | None) -> bool:
    if pinned_minor is None or not {"etcd", "kube-apiserver"} <= found.keys():
        return False
    return _minor(found["kube-apiserver"]) == pinned_minor


def _pinned_minor(places: Places) -> int | None:
    version = places.workshop.version(KUBERNETES)
    return int(version.split(".")[1]) if version else None


def _minor(server: Path) -> int | None:
    """Return N of `Kubernetes v1.N.P`, as every server program answers to --version."""
    match = re.search(r"Kubernetes v1\.(\d+)", _output(server, "--version"))
    return int(match.group(1)) if match else None


def _kubectl_minor(kubectl: Path) -> int | None:
    try:
        version = json.loads(_output(kubectl, "version", "--client", "--output=json"))
        return int(re.sub(r"\D", "", version["clientVersion"]["minor"]))  # some distributions write "32+"
    except (ValueError, KeyError, TypeError):
        return None


def _output(program: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            [program, *arguments], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Find or build every program, print where each is; the exit code of `make setup`'s step."""
    try:
        found = binaries(_to_stderr)
        judge = prometheus(_to_stderr)
        chart_tool = helm(_to_stderr)
    except ArgosyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for name in (*SERVERS, "kubectl"):
        sys.stdout.write(f"{name:24} {getattr(found, name.replace('-', '_'))}\n")
    for tool in PROMETHEUS.tools:
        sys.stdout.write(f"{tool.name:24} {getattr(judge, tool.name)}\n")
    sys.stdout.write(f"{'helm':24} {chart_tool}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
