"""The certificates that the ADS server of this process serves with: when it can begin, when they end.

Owns the watch over their files. Input: `ServerTls`, the clock. Output: the ADS server listens once they are
usable, whichever is there first; a trouble where they cannot be read, end soon or have ended, or where
Envoys' connections are refused; and the instants for the metrics.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Awaitable, Callable

from cryptography import x509

from argosy.certificates.reading import lifetime, share_used
from argosy.reconcile.clock import Clock
from argosy.reconcile.reporting.troubles import Troubles
from argosy.xds.tls.connections import WINDOW_S
from argosy.xds.tls.credentials import Material, ServerTls

log = logging.getLogger(__name__)

FILES_ACTIVITY = "certificates of the ADS server"
ENVOYS_ACTIVITY = "certificates of Envoys"
PERIOD_S = 1.0
LATE_AT = 0.8
"""Of a lifetime: by then every renewal, at two thirds at the latest, should have happened."""
MANY_REFUSED = 6
"""Of half a minute. An Envoy tries twice a second, at the operators in turn; a load balancer that looks
whether a port is open does so every five seconds at most, and is no Envoy that is refused."""

_HOUR_S = 3600


class ServedCertificates:
    """Until they are usable `listen` is not called."""

    def __init__(
        self, tls: ServerTls, clock: Clock, troubles: Troubles, num_refused: Callable[[], int]
    ) -> None:
        self._tls, self._clock, self._troubles, self._num_refused = tls, clock, troubles, num_refused
        self._material: Material | None = None
        self._is_listening = False

    @property
    def material(self) -> Material | None:
        """What is in use; None before the files were usable."""
        return self._material

    def unserved(self) -> str:
        """Why no Envoy can connect; empty where they can."""
        return "" if self._is_listening else f"Envoys cannot connect yet: {self._tls.trouble}"

    async def look(self, listen: Callable[[], Awaitable[None]]) -> None:
        """Read the files once, and listen where that is possible and not yet done."""
        before, self._material = self._material, self._tls.look()
        if self._material is not None:
            if not self._is_listening:
                await listen()
                self._is_listening = True
            if self._material is not before:
                certificate = self._material.certificate
                log.info("%s is valid until %s", self._tls.files.certificate, _instant(certificate))
        self._judge_files()
        self._judge_envoys()

    async def run(self, listen: Callable[[], Awaitable[None]]) -> None:
        """Look until cancelled. Raises what `listen` raises: the port may be taken."""
        while True:
            await self._clock.sleep(PERIOD_S)
            await self.look(listen)

    def _judge_files(self) -> None:
        sentence = self._tls.trouble
        if sentence and self._material is not None:
            sentence = f"{sentence}; the ADS server keeps the certificate that it has"
        sentence = sentence or self._about_to_end()
        if sentence:
            self._troubles.failed(FILES_ACTIVITY, sentence)
        else:
            self._troubles.succeeded(FILES_ACTIVITY)

    def _about_to_end(self) -> str:
        """What has ended or is overdue; empty where nothing is."""
        assert self._material is not None, "without a trouble the files were usable"
        now = dt.datetime.fromtimestamp(self._clock.now_s(), dt.UTC)
        files = self._tls.files
        last = max(self._material.authorities, key=lambda each: each.not_valid_after_utc)
        found = (
            (str(files.certificate), self._material.certificate),
            (f"the last authority of {files.authority}", last),
        )
        return "; ".join(filter(None, (overdue(name, certificate, now) for name, certificate in found)))

    def _judge_envoys(self) -> None:
        count = self._num_refused() if self._is_listening else 0
        if count < MANY_REFUSED:
            self._troubles.succeeded(ENVOYS_ACTIVITY)
            return
        authorities = self._tls.files.authority
        self._troubles.failed(
            ENVOYS_ACTIVITY,
            f"connections of the last {WINDOW_S:.0f} s were refused before an Envoy could say its name: it"
            f" has no certificate, or one that has ended or is of an authority that {authorities} does not"
            " hold, or it does not accept the operator's; its log says `TLS_error` in the last case, and"
            " --log-level debug of the operator shows the reason in the others",
            is_readiness=False,
        )


def overdue(name: str, certificate: x509.Certificate, now: dt.datetime) -> str:
    """A sentence where the certificate has ended, or should have been renewed; empty otherwise."""
    used = share_used(certificate, now)
    if used >= 1:
        return f"{name} ended on {_instant(certificate)}: no Envoy can connect; {_REMEDY}"
    if used < LATE_AT:
        return ""
    days = lifetime(certificate).total_seconds() / (24 * _HOUR_S)
    return (
        f"{name} ends on {_instant(certificate)} and has not been renewed, though more than {LATE_AT:.0%} of"
        f" its {days:.3g} days are over; {_REMEDY}"
    )


_REMEDY = "renew it by `argosy certificates`, or look why cert-manager or the leader does not"


def _instant(certificate: x509.Certificate) -> str:
    return f"{certificate.not_valid_after_utc:%Y-%m-%d at %H:%M} UTC"
