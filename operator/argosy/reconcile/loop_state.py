"""What the loops of one process share.

Owns the one mutable record: the control memory, the last reading, and the ports that both loops use.
All loops run on one event loop, so nothing is locked; a loop that awaits reads it again afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from argosy.control.memory import ControlMemory
from argosy.reconcile.act import Actor
from argosy.reconcile.clock import Clock
from argosy.reconcile.envoy_leases import EnvoyLeases
from argosy.reconcile.loops.publish import Publisher
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.watch.profile_files import ProfileFiles
from argosy.reconcile.watch.snapshots import Measured, Snapshots
from argosy.settings import OperatorSettings
from argosy.snapshot import TelemetryReading
from argosy.snapshot.fleet import FleetSnapshot


@dataclass
class LoopState:
    """One process's loops read and write this."""

    settings: OperatorSettings
    clock: Clock
    snapshots: Snapshots
    actor: Actor
    publisher: Publisher
    envoy_leases: EnvoyLeases
    profile_files: ProfileFiles
    metrics: Metrics
    memory: ControlMemory
    reading: TelemetryReading = field(default_factory=TelemetryReading)

    def snapshot(self) -> FleetSnapshot:
        """The world as the process sees it now."""
        routing = self.publisher.view(self.envoy_leases.others)
        measured = Measured(self.reading, routing, self.profile_files.view)
        return self.snapshots.take(measured, self.clock.now_s())
