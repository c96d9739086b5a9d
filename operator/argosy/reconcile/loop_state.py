"""What the loops of one process share.

Owns the one mutable record: the control memory, the last reading, and the ports that both loops use.
All loops run on one event loop, so nothing is locked; after each await a loop reads the record again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from argosy.control.memory import ControlMemory
from argosy.kube.identity import ClusterIdentity
from argosy.reconcile.act import Actor
from argosy.reconcile.clock import Clock
from argosy.reconcile.metrics import Metrics
from argosy.reconcile.reporting.heartbeats import Heartbeats
from argosy.reconcile.reporting.refused_writes import RefusedWrites
from argosy.reconcile.reporting.troubles import Troubles
from argosy.reconcile.revisions import SeenRevisions
from argosy.reconcile.watch.profile_files import ProfileFiles
from argosy.reconcile.watch.snapshots import Measured, Snapshots
from argosy.reconcile.watch.template_trials import TemplateTrials
from argosy.settings import OperatorSettings
from argosy.snapshot import TelemetryReading
from argosy.snapshot.fleet import FleetSnapshot, RoutingView


@dataclass
class LoopState:
    """The loops of one process read and write this.

    routing: what is published to Envoys, and which version each Envoy has
    cluster: which cluster this is: files of the state directory carry it
    due_since_s: since when a decision is due that was not carried out (monotonic seconds); None: none is
    """

    settings: OperatorSettings
    clock: Clock
    snapshots: Snapshots
    actor: Actor
    routing: Callable[[], RoutingView]
    profile_files: ProfileFiles
    trials: TemplateTrials
    metrics: Metrics
    revisions: SeenRevisions
    cluster: ClusterIdentity
    memory: ControlMemory
    troubles: Troubles
    heartbeats: Heartbeats
    reading: TelemetryReading = field(default_factory=TelemetryReading)
    due_since_s: float | None = None
    refused_writes: RefusedWrites = field(default_factory=RefusedWrites)

    def snapshot(self) -> FleetSnapshot:
        """The world as the process sees it now."""
        routing = self.routing()
        self.revisions.see(self.snapshots.plan_names(), routing.envoys)
        now_s = self.clock.now_s()
        refused, untaken = self.refused_writes.known(now_s), self.trials.refusals
        view = self.profile_files.view
        measured = Measured(self.reading, routing, view, self.revisions.largest, refused, untaken)
        return self.snapshots.take(measured, now_s, self.clock.monotonic_s())
