"""Building and caching pinned programs, with a shell script in the place of Go."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from argosy_sim.controlplane import gobuild
from argosy_sim.controlplane.errors import BuildError, MissingBinaryError
from argosy_sim.controlplane.gobuild import GoProgram, ToolModule, Workshop, find_go, obtain

TOOL = GoProgram("widget", "example.test/widget", usual_build_s=300)
MODULE = ToolModule("widgets", "example.test/widget", (TOOL,), stamped=True)
REQUIRED_GO = (1, 26, 0)

WRITES_A_PROGRAM = """
echo built >> "$0.builds"
echo "$@" > "$0.arguments"
/usr/bin/env > "$0.environment"
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\n' > "$2"
/bin/chmod +x "$2"
"""


def install_go(path: Path, version: str = "1.26.8", build: str = WRITES_A_PROGRAM) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = version ]; then echo "go version go{version} x/y"; exit; fi\n{build}'
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a `go` package would be installed; empty, and before any real one."""
    package = tmp_path / "site" / "go"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return package


@pytest.fixture
def workshop(tmp_path: Path, site: Path) -> Workshop:
    folder = tmp_path / "tools" / MODULE.name
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module x\n\ngo 1.26.0\n\nrequire example.test/widget v1.36.3\n")
    (folder / "go.sum").write_text("example.test/widget v1.36.3 h1:abc=\n")
    environment = {"PATH": str(tmp_path / "bin"), "GOFLAGS": "-mod=mod", "HOME": str(tmp_path)}
    return Workshop(tmp_path / "tools", tmp_path / "cache", environment)


def silent(_: str) -> None:
    pass


def test_a_build_is_pinned_stamped_and_needs_no_c_compiler(workshop: Workshop, tmp_path: Path) -> None:
    go = install_go(tmp_path / "bin" / "go")
    built = obtain(workshop, MODULE, TOOL, silent)
    assert os.access(built, os.X_OK)
    arguments = Path(f"{go}.arguments").read_text()
    for expected in ("build", "-trimpath", "gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36", TOOL.package):
        assert expected in arguments
    environment = Path(f"{go}.environment").read_text().splitlines()
    assert {"CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off"} <= set(environment)


def test_a_second_call_builds_nothing(workshop: Workshop, tmp_path: Path) -> None:
    go = install_go(tmp_path / "bin" / "go")
    assert obtain(workshop, MODULE, TOOL, silent) == obtain(workshop, MODULE, TOOL, silent)
    assert Path(f"{go}.builds").read_text() == "built\n"


@pytest.mark.parametrize("file", ["go.mod", "go.sum"])
def test_another_version_of_a_module_gets_another_cache_entry(workshop: Workshop, file: str) -> None:
    assert workshop.modules is not None
    before = workshop.cached_path(MODULE, TOOL)
    path = workshop.modules / MODULE.name / file
    path.write_text(path.read_text() + "\n// changed\n")
    assert workshop.cached_path(MODULE, TOOL) != before


def test_other_flags_get_another_cache_entry(workshop: Workshop) -> None:
    unstamped = ToolModule(MODULE.name, MODULE.version_of, MODULE.tools, stamped=False)
    assert workshop.cached_path(unstamped, TOOL) != workshop.cached_path(MODULE, TOOL)


def test_the_cache_key_does_not_depend_on_where_the_checkout_lies(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.modules is not None
    moved = Workshop(workshop.modules.rename(tmp_path / "elsewhere"), workshop.cache, {})
    same = workshop.cache / moved.cached_path(MODULE, TOOL).parent.name / TOOL.name  # type: ignore[union-attr]
    assert moved.cached_path(MODULE, TOOL) == same


def test_two_that_need_the_same_program_build_it_once(workshop: Workshop, tmp_path: Path) -> None:
    go = install_go(tmp_path / "bin" / "go", build=f"/bin/sleep 0.5\n{WRITES_A_PROGRAM}")
    said: list[str] = []
    threads = [threading.Thread(target=obtain, args=(workshop, MODULE, TOOL, said.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Path(f"{go}.builds").read_text() == "built\n"
    assert "Waiting for another process that is building widgets tools." in said


def test_a_failed_build_ends_with_what_go_said_and_leaves_no_program(
    workshop: Workshop, tmp_path: Path
) -> None:
    failing = (
        'while [ "$1" != -o ]; do shift; done\necho half > "$2"\necho "dial tcp: no route to host"\nexit 1\n'
    )
    install_go(tmp_path / "bin" / "go", build=failing)
    with pytest.raises(BuildError, match=r"widget could not be built .*\n.*no route to host"):
        obtain(workshop, MODULE, TOOL, silent)
    assert [path.name for path in workshop.cache.glob("*/*")] == [".lock"]


def test_an_interrupted_build_ends_the_compiler_and_leaves_no_program(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = install_go(tmp_path / "bin" / "go", build='/bin/sleep 60 & echo $! > "$0.child"\nwait\n')
    monkeypatch.setattr(gobuild, "_PROGRESS_EVERY_S", 0.2)

    def interrupt(line: str) -> None:
        if "still building widget" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(workshop, MODULE, TOOL, interrupt)
    assert [path.name for path in workshop.cache.glob("*/*")] == [".lock"]
    assert not _is_alive(int(Path(f"{go}.child").read_text()))


def _is_alive(pid: int) -> bool:
    """Whether a process that this one did not fork is alive; it may be an orphaned zombie for a moment."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return False
        except (FileNotFoundError, ProcessLookupError):
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(
    ("on_path", "packaged", "expected"),
    [
        pytest.param("1.26.8", None, "path", id="the machine's own Go"),
        pytest.param("1.26.8", "1.26.6", "path", id="the machine's own Go before the package"),
        pytest.param("1.24.1", "1.26.6", "package", id="a machine's Go too old for the module"),
        pytest.param("1.24.1", None, "path", id="an older Go that fetches the toolchain it needs"),
        pytest.param("1.19.8", None, None, id="a Go that cannot read the module"),
        pytest.param(None, "1.26.6", "package", id="a machine without Go"),
        pytest.param(None, None, None, id="neither"),
    ],
)
def test_the_go_toolchain_that_builds(
    on_path: str | None,
    packaged: str | None,
    expected: str | None,
    workshop: Workshop,
    tmp_path: Path,
    site: Path,
) -> None:
    places = {"path": tmp_path / "bin" / "go", "package": site / "bin" / "go"}
    for place, version in (("path", on_path), ("package", packaged)):
        if version is not None:
            install_go(places[place], version)
    found = find_go(workshop, REQUIRED_GO)
    assert (found.executable if found else None) == (places[expected] if expected else None)


def test_the_packaged_go_gets_the_path_of_its_root(workshop: Workshop, site: Path) -> None:
    go = install_go(site / "bin" / "go")
    obtain(workshop, MODULE, TOOL, silent)
    assert f"GOROOT={site}" in Path(f"{go}.environment").read_text().splitlines()


def test_a_missing_go_is_named_with_the_remedy(workshop: Workshop) -> None:
    with pytest.raises(MissingBinaryError, match=r"widget is missing.*pip install 'argosy\[go\]'"):
        obtain(workshop, MODULE, TOOL, silent)
