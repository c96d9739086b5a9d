"""This machine's clock against the API server's.

Owns the measurement, its limits and the sentences. Input: the `Date` of the API server's answers. Output: the
offset for the metric, whether this process may lead, and Ready of Fleet where no process leads because of it.
Who leads is decided on monotonic clocks; ages of pods, waits and the dates of statuses are not.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from math import nan

from argosy.api.conditions import Reason, find_condition
from argosy.api.crd.resource import status_body
from argosy.control.decision import StatusUpdate
from argosy.control.picture.remarks import ready_update
from argosy.errors import ActuationError
from argosy.kube.api import ApiServer, path_of
from argosy.reconcile.clock import Clock
from argosy.reconcile.reporting.troubles import Troubles
from argosy.snapshot.fleet import FleetSnapshot

log = logging.getLogger(__name__)

ACTIVITY = "clock"

MOST_OFFSET_S = 60.0
"""Ages of pods and readings are judged in tens of seconds; clocks that are set by NTP agree far better."""
NOTICED_OFFSET_S = 10.0
"""Less may be the time that an answer took."""


class ClockOffset:
    """How far this machine's clock is from the API server's, as of the last look."""

    def __init__(self, api: ApiServer, clock: Clock, troubles: Troubles) -> None:
        self._api, self._clock, self._troubles = api, clock, troubles
        self.seconds = nan
        """Positive: this machine's clock is ahead; not a number: the API server has not answered yet."""

    @property
    def problem(self) -> str:
        """Why this process may not lead; empty where it may."""
        return f"{_found(self.seconds)}: {_REMEDY}" if abs(self.seconds) > MOST_OFFSET_S else ""

    def look(self) -> bool:
        """Just after an answer: whether this process may lead; reports what is wrong."""
        if self._api.server_time_s is not None:
            self.seconds = self._clock.now_s() - self._api.server_time_s
        if self.problem:
            self._troubles.failed(ACTIVITY, self.problem)
        elif abs(self.seconds) > NOTICED_OFFSET_S:
            said = f"{_found(self.seconds)}: ages and waits are misjudged by as much; set both clocks by NTP"
            self._troubles.failed(ACTIVITY, said, is_readiness=False)
        else:
            self._troubles.succeeded(ACTIVITY)
        return not self.problem

    async def report(self, snapshot: FleetSnapshot) -> None:
        """Write into Ready of Fleet that no process leads because of this one's clock.

        The next leader's first decision replaces it. Dated by the API server's clock.
        """
        update = self.update(snapshot)
        if update is None:
            return
        try:
            body = {"status": status_body(update.status)}
            await self._api.patch(path_of(update.kind), update.key, body, sub="status")
        except ActuationError as error:
            log.debug("Fleet could not be told of the clock: %s", error)

    def update(self, snapshot: FleetSnapshot) -> StatusUpdate | None:
        """Fleet's status with that condition; None where it has it, or there is nothing to report."""
        fleet, server_s = snapshot.fleet, self._api.server_time_s
        if fleet is None or server_s is None or not self.problem:
            return None
        sentence = Reason.CLOCK_OFF.sentence(problem=self.problem)
        dated = replace(snapshot, now_s=server_s)
        found = ready_update(dated, fleet, Reason.CLOCK_OFF, sentence, stays=False)
        before = find_condition(fleet.status.conditions, "Ready")
        # Another process may have written its own offset: that does for both.
        return None if before is not None and before.reason == Reason.CLOCK_OFF else found


_REMEDY = f"at most {MOST_OFFSET_S:.0f} s is allowed, so this process does not lead; set both clocks by NTP"


def _found(offset_s: float) -> str:
    direction = "ahead of" if offset_s > 0 else "behind"
    return f"this machine's clock is {_rounded(abs(offset_s))} {direction} the API server's"


def _rounded(seconds: float) -> str:
    """So that the sentence does not change with every reading: to ten seconds, the minute or the hour."""
    if seconds < 60:
        return f"{10 * round(seconds / 10)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
