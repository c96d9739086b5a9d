"""Which cluster this is: the uid of its namespace kube-system, which lives as long as the cluster does.

Owns the reading, once it succeeds for the life of the process. Input: the API server. Output: the uid, or
why it is not known.
"""

from __future__ import annotations

import asyncio

from argosy.errors import ActuationError
from argosy.kube.api import NAMESPACES, ApiServer

NAMESPACE = "kube-system"
LIMIT_S = 2.0
"""The copy of the routes waits for this at the start of a process, while the API server does not answer."""


class ClusterIdentity:
    """The cluster's uid; empty while it is not known, `why_unknown` then says the reason."""

    def __init__(self, uid: str = "") -> None:
        self.uid = uid
        self.why_unknown = "" if uid else "the API server was not asked yet"

    async def learn(self, api: ApiServer) -> bool:
        """Ask the API server; returns whether the uid is known now."""
        try:
            async with asyncio.timeout(LIMIT_S):
                found = await api.find(NAMESPACES, NAMESPACE)
        except TimeoutError:
            self.why_unknown = f"the API server did not answer within {LIMIT_S:.0f} s"
        except ActuationError as error:
            self.why_unknown = str(error)
        else:
            self.uid = str(found["metadata"].get("uid") or "") if found else ""
            self.why_unknown = "" if self.uid else f"there is no namespace {NAMESPACE}"
        return bool(self.uid)
