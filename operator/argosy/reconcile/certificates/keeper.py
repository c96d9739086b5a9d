"""Renewing the Secrets of certificates, once or for as long as this process leads.

Owns one pass: read, ask `certificates.renewal`, write. Input: the Secrets, what is wanted, the clock. Output:
Secrets, what was done in sentences, and when each certificate ends. The chart's job makes them first; the
leader renews what it finds, with the hosts and lifetimes that are kept beside the authority.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from argosy.certificates.renewal import Held, ends, renewed
from argosy.certificates.wanted import Part, Wanted, kept
from argosy.errors import ActuationError, NextStep, SpecError
from argosy.kube.secrets import CertificateSecrets
from argosy.reconcile.clock import Clock
from argosy.reconcile.error_table import delay_after
from argosy.reconcile.reporting.troubles import Troubles

log = logging.getLogger(__name__)

ACTIVITY = "renewal of certificates"
PERIOD_S = 60.0
_MOST_ATTEMPTS = 5
"""Of one pass: another writer may be at work, which makes the same."""


_RESTART = (
    "; an Envoy that has read it keeps its earlier certificates until it is restarted (kubectl rollout"
    " restart deployment/argosy-envoy, or daemonset/argosy-envoy)"
)


@dataclass(frozen=True, slots=True)
class Pass:
    """held: what the Secrets hold now; done: why each certificate was made that is new; damaged: why each
    authority was written anew that could not be read.
    """

    held: Held
    done: dict[Part, str]
    damaged: dict[Part, str] = field(default_factory=dict)


async def renew(secrets: CertificateSecrets, wanted: Callable[[Held], Wanted], now: dt.datetime) -> Pass:
    """Make and renew what is due. Raises SpecError of `wanted`, and ActuationError."""
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        held = await secrets.read()
        renewal = renewed(held, wanted(held), now)
        try:
            for part, files in renewal.files.items():
                await secrets.write(part, files)
        except ActuationError as error:
            if error.next_step is NextStep.REPLAN and attempt < _MOST_ATTEMPTS:
                continue
            raise
        return Pass({**held, **renewal.files}, renewal.reasons, renewal.damaged)
    raise AssertionError("unreachable: the last attempt returns or raises")


class CertificateKeeper:
    """The leader's part."""

    def __init__(self, secrets: CertificateSecrets, clock: Clock, troubles: Troubles) -> None:
        self._secrets, self._clock, self._troubles = secrets, clock, troubles
        self._num_failures = 0
        self.ends: dict[Part, dt.datetime] = {}
        """When the certificates end, while this process leads."""

    async def run(self, is_leader: Callable[[], bool]) -> None:
        """Until cancelled: a pass every `PERIOD_S` while this process leads."""
        while True:
            if is_leader():
                await self._clock.sleep(await self._attempt())
            else:
                self.ends = {}
                self._troubles.forget([ACTIVITY])
                await self._clock.sleep(1.0)

    async def _attempt(self) -> float:
        """One pass; returns the seconds until the next."""
        now = dt.datetime.fromtimestamp(self._clock.now_s(), dt.UTC)
        try:
            found = await renew(self._secrets, self._wanted, now)
        except (ActuationError, SpecError) as error:
            self._num_failures += 1
            self._troubles.failed(ACTIVITY, str(error))
            return delay_after(error, self._num_failures) or PERIOD_S
        self._num_failures = 0
        self._troubles.succeeded(ACTIVITY)
        self.ends = ends(found.held)
        for part, reason in found.done.items():
            log.info("the Secret %s has a new certificate: %s", self._secrets.key(part), reason)
        for part, why in found.damaged.items():
            remedy = _RESTART if part is Part.ENVOY else ""
            log.warning("the Secret %s is set right: %s%s", self._secrets.key(part), why, remedy)
        return PERIOD_S

    def _wanted(self, held: Held) -> Wanted:
        found = kept(held)
        if found is None:
            raise SpecError(
                f"the Secrets {self._secrets.key(Part.AUTHORITY)} and {self._secrets.key(Part.SERVER)} are"
                " missing or do not show for which hosts certificates are needed; run `argosy certificates"
                " --host HOST` with the host of the Envoys' --ads"
            )
        return found
