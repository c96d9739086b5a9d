"""Writes of Deployments that the API server's admission has refused.

Owns what of them is remembered until they succeed: decisions read it as they read the conditions of
Deployments. Input: steps and errors. Output: `RefusedWrite`s by Deployment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from argosy.errors import ActuationError, NextStep
from argosy.keys import DeploymentKey
from argosy.kube.failures import words
from argosy.rollout import CreateDeployment, RestoreDeployment, Step
from argosy.snapshot.admission.words import RefusedWrite

_STATUS = re.compile(r"^\d{3} ")
KEPT_S = 3600.0
"""A Deployment that is no longer wanted is not tried again: its refusal is forgotten after this time."""


class RefusedWrites:
    """What was refused last, by Deployment."""

    def __init__(self) -> None:
        self._found: dict[DeploymentKey, RefusedWrite] = {}

    def note(self, step: Step, error: ActuationError, now_s: float) -> bool:
        """A step was refused; only a Deployment that admission does not take is remembered.

        Returns whether this was not known: the next decision should tell it.
        """
        if not isinstance(step, CreateDeployment | RestoreDeployment) or not _is_refusal(error):
            return False
        key, before = step.workload.key, self._found.get(step.workload.key)
        since_s = before.since_s if before is not None else now_s
        message = _STATUS.sub("", words(error))
        self._found[key] = RefusedWrite(step.workload.variant.name, message, since_s)
        return before is None

    def succeeded(self, step: Step) -> None:
        """A step was taken."""
        if isinstance(step, CreateDeployment | RestoreDeployment):
            self._found.pop(step.workload.key, None)

    def known(self, now_s: float) -> Mapping[DeploymentKey, RefusedWrite]:
        """Those that still count."""
        self._found = {key: each for key, each in self._found.items() if now_s - each.since_s < KEPT_S}
        return dict(self._found)


def _is_refusal(error: ActuationError) -> bool:
    return error.next_step is NextStep.GIVE_UP and error.obstacle is None and bool(error.status)
