"""What the loops of one process share.

Owns the one mutable record: the control memory, the last reading and who is silent. All loops run
on one event loop, so nothing is locked; whoever awaits reads it again afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.control.decision import ControlMemory
from argosy.demand.forecast import ClassForecast
from argosy.reconcile.act import Actor
from argosy.reconcile.gauges import Gauges
from argosy.reconcile.picture import Measured, Picture
from argosy.reconcile.profile_files import ProfileFiles
from argosy.reconcile.publish import Publisher
from argosy.reconcile.roster import Roster
from argosy.settings import OperatorSettings
from argosy.snapshot import TelemetryReading
from argosy.snapshot.fleet import FleetSnapshot


@dataclass
class Shared:
    """One process's loops read and write this.

    forecasts: what the last decision reckoned with, by class (the forecast bands' centres)
    capacity_per_s: requests/s that one replica of each Deployment carries, from the last decision
    """

    settings: OperatorSettings
    picture: Picture
    actor: Actor
    publisher: Publisher
    roster: Roster
    profile_files: ProfileFiles
    gauges: Gauges
    memory: ControlMemory
    reading: TelemetryReading = field(default_factory=TelemetryReading)
    forecasts: Mapping[str, ClassForecast] = field(default_factory=dict)
    capacity_per_s: Mapping[str, float] = field(default_factory=dict)

    def snapshot(self, now_s: float) -> FleetSnapshot:
        """The picture of this moment."""
        routing = self.publisher.view(self.roster.others)
        return self.picture.snapshot(Measured(self.reading, routing, self.profile_files.view), now_s)
