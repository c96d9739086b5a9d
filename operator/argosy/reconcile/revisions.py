"""The largest FleetPlan revision that this process, or one before it, has seen.

Owns the number, in memory and in the state directory. Input: numbers, wherever they were seen. Output:
the largest; `control.revision.number` makes the next one of it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from argosy.control.revision.number import ADOPTED_LIMIT
from argosy.files.revisions import read_revision, write_revision
from argosy.kube.identity import ClusterIdentity
from argosy.snapshot.fleet import EnvoyState

log = logging.getLogger(__name__)

_PLAN_NAME = re.compile(r"plan-([0-9]{6,9})")


class SeenRevisions:
    """Never falls; a rise is written to the state directory at once.

    The number of another cluster's file is not used; where it is not known which cluster this is, it is:
    a number that is too large harms nothing.
    """

    def __init__(self, state_dir: Path, cluster: ClusterIdentity) -> None:
        self._state_dir, self._cluster = state_dir, cluster
        self._largest = min(read_revision(state_dir, cluster.uid), ADOPTED_LIMIT)

    @property
    def largest(self) -> int:
        """The largest number seen; 0 before the first."""
        return self._largest

    def see(self, plan_names: Iterable[str], envoys: Iterable[EnvoyState] = ()) -> None:
        """Take note of FleetPlans, also of those that cannot be read, and of what Envoys have."""
        found = (_PLAN_NAME.fullmatch(name) for name in plan_names)
        numbers = (*(int(match[1]) for match in found if match), *(envoy.revision for envoy in envoys))
        largest = max((n for n in numbers if n <= ADOPTED_LIMIT), default=0)
        if largest <= self._largest:
            return
        self._largest = largest
        try:
            write_revision(self._state_dir, largest, self._cluster.uid)
        except OSError as error:
            # Only a restart after which no plan and no Envoy tells the number needs the file.
            log.warning("the largest revision was not written to %s: %s", self._state_dir, error)
