"""What the API server says to the pod templates that users shape, before a replica is planned with one.

Owns the trials: a creation as a dry run, which goes through the API server's schema, its defaults
and its admission, and changes nothing. Input: the Deployments to try, by ServedModel and pool. Output: the
API server's sentence for each that it refuses. One that it has taken is not tried again; one that it refuses
is tried before every decision, as a webhook may change. While the API server does not answer, the last
verdict holds, and what was never tried is not refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from argosy.errors import ActuationError, NextStep
from argosy.kube.api import DEPLOYMENTS, ApiServer
from argosy.kube.failures import words
from argosy.snapshot.fleet import TemplateKey

Manifest = Mapping[str, Any]

_EXISTS = 409
"""A Deployment of that name, and so of that template, was taken before."""
_NO_DRY_RUN = "does not support dry run"
"""So the API server answers where a webhook with side effects would be called: it has taken the schema."""


class TemplateTrials:
    """The verdicts on templates; `refresh` updates them."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._taken: dict[TemplateKey, str] = {}
        """The name of the Deployment that was taken: a hash of its template."""
        self._refused: dict[TemplateKey, str] = {}

    @property
    def refusals(self) -> Mapping[TemplateKey, str]:
        """The API server's sentences, as of the last refresh."""
        return dict(self._refused)

    async def refresh(self, wanted: Mapping[TemplateKey, Manifest]) -> None:
        """Try the templates that are not known to be taken; forget those that are no longer wanted."""
        self._taken = {key: name for key, name in self._taken.items() if key in wanted}
        self._refused = {key: said for key, said in self._refused.items() if key in wanted}
        new = [key for key, body in wanted.items() if self._taken.get(key) != body["metadata"]["name"]]
        await asyncio.gather(*(self._try(key, wanted[key]) for key in new))

    async def _try(self, key: TemplateKey, body: Manifest) -> None:
        try:
            await self._api.try_create(DEPLOYMENTS, dict(body))
        except ActuationError as error:
            if error.status == _EXISTS or _NO_DRY_RUN in str(error):
                self._take(key, body)
            elif error.next_step is NextStep.GIVE_UP and error.obstacle is None:
                self._refused[key] = words(error)
            return
        self._take(key, body)

    def _take(self, key: TemplateKey, body: Manifest) -> None:
        self._taken[key] = body["metadata"]["name"]
        self._refused.pop(key, None)
