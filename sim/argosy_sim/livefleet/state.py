"""Owns what a running fleet records: `state.json` and the names in its state directory.

state.json     the process (pid and start time) and its addresses; removed at the end
control.sock   commands (`control`)
events.jsonl   what happened when (`event_log`)
pods/          the containers' logs
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from argosy_sim.controlplane.credentials.kubeconfig import write_private
from argosy_sim.controlplane.host.processes import Identity, is_running
from argosy_sim.livefleet.errors import FleetRunningError


@dataclass(frozen=True, slots=True)
class FleetState:
    """A running fleet. It is written once the nodes are Ready and pods are followed.

    `network` is the 127.R.0.0/16 of its pods, `engine_port` the port that was free in all of
    it, `kubelet_port` that of `kubectl logs` (None without a certificate). `started_at_s` is Unix time.
    """

    process: Identity
    started_at_s: float
    network: str
    engine_port: int
    kubelet_port: int | None


_STATE = TypeAdapter(FleetState)


@dataclass(frozen=True, slots=True)
class FleetLayout:
    """Paths inside a state directory."""

    directory: Path

    @property
    def state(self) -> Path:
        """`state.json`."""
        return self.directory / "state.json"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.directory / "events.jsonl"

    @property
    def pods(self) -> Path:
        """The containers' logs."""
        return self.directory / "pods"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.directory / "control.sock"

    def load(self) -> FleetState | None:
        """Return the fleet that runs here, None if none does.

        Raises `FleetRunningError` if another process wrote `state.json`.
        """
        try:
            state = _STATE.validate_json(self.state.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise FleetRunningError(
                f"{self.state} was not written by a live fleet; name another state directory"
            ) from error
        return state if is_running(state.process) else None

    def prepare(self) -> None:
        """Make the directory ready for a fleet; raises `FleetRunningError` if one runs here."""
        running = self.load()
        if running is not None:
            raise FleetRunningError(
                f"a live fleet (pid {running.process.pid}) runs in {self.directory}; end it or name another"
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        self.clear()

    def save(self, state: FleetState) -> None:
        """Write `state.json`, never half."""
        write_private(self.state, _STATE.dump_json(state, indent=2))

    def clear(self) -> None:
        """Remove what only a running fleet has; events and logs stay."""
        self.state.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
