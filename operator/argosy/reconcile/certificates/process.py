"""All that one operator process does about certificates.

Owns which of it applies: without mutual TLS the ADS server listens at once; with it, once its files are
there; and the leader renews Secrets where their name is given. Input: the parts, and how to listen. Output:
loops, and the metric of when certificates end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from argosy.certificates.wanted import Part
from argosy.reconcile.certificates.keeper import CertificateKeeper
from argosy.reconcile.certificates.served import ServedCertificates
from argosy.reconcile.clock import Clock
from argosy.reconcile.metrics import Metrics

SHOW_S = 5.0

Listen = Callable[[], Awaitable[None]]


class Certificates:
    """served: None without mutual TLS; keeper: None where this process renews nothing."""

    def __init__(
        self,
        served: ServedCertificates | None,
        keeper: CertificateKeeper | None,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._served, self._keeper, self._metrics, self._clock = served, keeper, metrics, clock

    async def begin(self, listen: Listen) -> None:
        """Listen for Envoys, if that is possible now. Raises SpecError where the port is taken."""
        await (listen() if self._served is None else self._served.look(listen))

    def loops(self, listen: Listen, is_leader: Callable[[], bool]) -> list[Coroutine[Any, Any, None]]:
        """What has to run as long as the process does; may be nothing."""
        found: list[Coroutine[Any, Any, None]] = []
        if self._served is not None:
            found.append(self._served.run(listen))
        if self._keeper is not None:
            found.append(self._keeper.run(is_leader))
        return [*found, self._show()] if found else []

    def unserved(self) -> str:
        """Why no Envoy can connect; empty where they can."""
        return "" if self._served is None else self._served.unserved()

    async def _show(self) -> None:
        """Until cancelled: a process that does not lead knows only what it serves with itself."""
        while True:
            ends = {} if self._keeper is None else dict(self._keeper.ends)
            material = None if self._served is None else self._served.material
            if material is not None:
                ends[Part.SERVER] = material.certificate.not_valid_after_utc
                ends[Part.AUTHORITY] = material.trusted_until
            ends_s = {str(part): end.timestamp() for part, end in ends.items()}
            self._metrics.show_certificates(ends_s, self._clock.now_s())
            await self._clock.sleep(SHOW_S)
