"""`argosy sim`: the embedded control plane, the live fleet, the replayer and the demo.

Owns the flags and what is printed; each command calls one function that does the work. A command
imports what it needs when it runs: `argosy --help` loads this module.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from argosy.errors import SpecError
from argosy.exit_codes import exit_code
from argosy_sim.replay.command import register as register_replay

if TYPE_CHECKING:
    from argosy_sim.controlplane.lifecycle import Status

app = typer.Typer(
    help="A whole cluster on this machine, without Docker and without a GPU.", no_args_is_help=True
)
register_replay(app)

StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Where everything is kept; left out, below ~/.local/state.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

REPORT_COLUMNS = 110
DEMO_TRACE = "azure-llm-2023-conv.csv"
DEMO_TRACE_START_S = 982.0
"""The 2,400 requests from here on have the whole hour's mean lengths (1,186 and 222 tokens against
1,155 and 211); the first 2,400 ask for a quarter more output than the class declares."""


def _directory(given: Path | None) -> Path:
    from argosy_sim.controlplane import lifecycle

    return given or lifecycle.default_state_dir(os.environ)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _report_console() -> Console:
    """A log file or a pipe has no width of its own; the report's tables want a hundred columns."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=REPORT_COLUMNS)


@app.command()
def up(
    state_dir: StateDir = None,
    api_port: Annotated[
        int | None, typer.Option(help="Port of the API server; left out, a free one.")
    ] = None,
) -> None:
    """Start a control plane: etcd, API server, controller manager and scheduler."""
    from argosy_sim.controlplane import lifecycle

    console = _console()
    status = lifecycle.up(_directory(state_dir), console.print, api_port)
    console.print(f"The control plane is {status.health.value} at {status.server_url}. Next:")
    console.print(f"  export KUBECONFIG={status.admin_kubeconfig}")
    console.print("  kubectl apply --server-side -f crds/ && argosy sim fleet")


@app.command()
def down(state_dir: StateDir = None) -> None:
    """End the control plane and remove its data; the logs stay."""
    from argosy_sim.controlplane import lifecycle

    endings = lifecycle.down(_directory(state_dir))
    words = ", ".join(f"{name} {ending.value}" for name, ending in endings.items())
    _console().print(words or "Nothing was running.")


@app.command()
def status(
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what runs; exit code 3 where the control plane is not ready."""
    from argosy_sim.controlplane import lifecycle

    found = lifecycle.status(_directory(state_dir))
    if as_json:
        typer.echo(json.dumps(found.document(), indent=2))
    else:
        _print_status(_console(), found)
    raise typer.Exit(exit_code(found.health is lifecycle.Health.READY))


def _print_status(console: Console, found: Status) -> None:
    console.print(f"{found.health.value}: {found.server_url or 'no control plane'} ({found.state_dir})")
    if found.components:
        table = Table("component", "pid", "state", "memory", "log")
        for part in found.components:
            state = "running" if part.is_running else "ended"
            memory = f"{part.resident_bytes / 2**20:.0f} MiB"
            table.add_row(part.name, str(part.pid), state, memory, str(part.log))
        console.print(table)


@app.command()
def fleet(
    state_dir: StateDir = None,
    spec: Annotated[Path | None, typer.Option(help="The nodes (YAML); left out, the demo's eight.")] = None,
) -> None:
    """Run simulated GPU nodes in the control plane, in the foreground; Ctrl-C ends them."""
    from argosy_sim.controlplane.cluster import ControlPlane
    from argosy_sim.livefleet.launch import ACCOUNT_NAME, ACCOUNT_NAMESPACE, RBAC, Launch

    directory = _directory(state_dir)
    control_plane = ControlPlane.attach(directory)
    kubectl = [str(control_plane.binaries.kubectl), f"--kubeconfig={control_plane.admin_kubeconfig}"]
    subprocess.run([*kubectl, "apply", "-f", str(RBAC)], check=True)
    kubeconfig = control_plane.service_account_kubeconfig(
        ACCOUNT_NAMESPACE, ACCOUNT_NAME, directory / "fleet.kubeconfig"
    )
    launch = Launch(kubeconfig, directory / "fleet", spec, control_plane.state_dir)
    command = launch.command()
    os.execv(command[0], command)  # noqa: S606  (the fleet is this command from here on)


@app.command()
def demo(
    trace: Annotated[
        Path | None, typer.Option(envvar="TRACE", help="Trace that replaces the chat class's load.")
    ] = None,
    rate: Annotated[float, typer.Option(envvar="RATE", help="Multiplies every rate.", min=0.01)] = 1.0,
    seed: Annotated[int, typer.Option(envvar="SEED", help="Of every source of chance.")] = 1,
    skip_bad_lines: Annotated[
        bool, typer.Option(envvar="SKIP_BAD_LINES", help="Go on without a trace's malformed lines.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Where the report is left.")] = Path("build/demo"),
) -> None:
    """Run the whole loop on real components and report; exit code 3 unless all was kept, in time."""
    from argosy_sim.demo.drive import LoadChoice
    from argosy_sim.demo.run import DemoSettings, run_demo

    repository = find_repository()
    chosen = trace or _shared_trace(repository)
    start_s = DEMO_TRACE_START_S if trace is None and chosen is not None else 0.0
    name = (
        chosen.name if chosen is not None else "azure-conversation (built-in archetype: no trace was found)"
    )
    choice = LoadChoice(chosen, rate, seed, start_s, skip_bad_lines)
    settings = DemoSettings(repository, output.resolve(), choice, name, declares_trace=trace is not None)
    raise typer.Exit(exit_code(run_demo(settings, _report_console())))


def find_repository() -> Path:
    """The checkout that holds crds/ and examples/; raises `SpecError` where there is none."""
    for directory in (Path.cwd(), *Path(__file__).resolve().parents):
        if (directory / "crds").is_dir() and (directory / "examples").is_dir():
            return directory
    raise SpecError("the demo needs a checkout of the project: run it from there")


def _shared_trace(repository: Path) -> Path | None:
    folder = Path(os.environ.get("ARGOSY_TRACES", repository.parent / "shared" / "traces"))
    path = folder / DEMO_TRACE
    return path if path.is_file() else None
