"""What goes wrong in this process now: logged once per change, and read by /readyz.

Owns the difference between a failure and the same failure again. Input: failures and successes of an
activity, each named (`decisions`, `leader election`). Output: one log line when a failure begins or
changes, reminders that become rare, one when it ends; and the sentences of those that last.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from argosy.reconcile.clock import Clock

LASTING_S = 10.0
"""A failure is no matter for /readyz before: an API server that restarts, a role that is not read yet."""
FIRST_REMINDER_S = 60.0
LONGEST_REMINDER_S = 3600.0
MOST_SENTENCES = 20
"""Sentences of one activity that are logged at once; of more, only reminders are."""


@dataclass
class _Trouble:
    began_s: float
    reminder_s: float
    sentence: str = ""
    count: int = 0
    is_readiness: bool = True
    said: set[str] = field(default_factory=set)
    gap_s: float = FIRST_REMINDER_S


class Troubles:
    """The failures of one process that have not ended."""

    def __init__(self, clock: Clock, log: logging.Logger) -> None:
        self._clock, self._log = clock, log
        self._now: dict[str, _Trouble] = {}

    def failed(
        self,
        activity: str,
        sentence: str,
        *,
        level: int = logging.WARNING,
        is_readiness: bool = True,
        error: BaseException | None = None,
    ) -> None:
        """The activity failed. is_readiness: /readyz reports it; error: the log shows where it came from."""
        now_s = self._clock.monotonic_s()
        trouble = self._now.setdefault(activity, _Trouble(now_s, now_s + FIRST_REMINDER_S))
        trouble.count += 1
        trouble.sentence, trouble.is_readiness = sentence, is_readiness
        if sentence not in trouble.said and len(trouble.said) < MOST_SENTENCES:
            trouble.said.add(sentence)
            self._log.log(level, "%s: %s", activity, sentence, exc_info=error)
        elif now_s >= trouble.reminder_s:
            trouble.gap_s = min(2 * trouble.gap_s, LONGEST_REMINDER_S)
            trouble.reminder_s = now_s + trouble.gap_s
            age_s = now_s - trouble.began_s
            self._log.log(
                level, "%s: still, after %.0f s and %d times: %s", activity, age_s, trouble.count, sentence
            )

    def lasted(self, activity: str, sentence: str, since_s: float) -> None:
        """The activity has failed since then (monotonic seconds), for long enough to be told at once."""
        is_new = activity not in self._now
        self.failed(activity, sentence)
        if is_new:
            self._now[activity].began_s = since_s

    def succeeded(self, activity: str) -> None:
        """The activity works; where it did not, the log says for how long."""
        trouble = self._now.pop(activity, None)
        if trouble is not None:
            age_s = self._clock.monotonic_s() - trouble.began_s
            self._log.info("%s: works again after %.0f s", activity, age_s)

    def forget(self, activities: Iterable[str], prefixes: tuple[str, ...] = ()) -> None:
        """The activities, and those of these prefixes, are not this process's any more."""
        named = (name for name in self._now if name.startswith(prefixes))
        for activity in (*activities, *named):
            self._now.pop(activity, None)

    def keep_only(self, prefix: str, activities: frozenset[str]) -> None:
        """End the activities of this prefix that are not among these: their objects are mended or gone."""
        for activity in [a for a in self._now if a.startswith(prefix) and a not in activities]:
            self.succeeded(activity)

    def lasting_activities(self) -> tuple[str, ...]:
        """The activities that have failed for so long, also those that /readyz leaves out."""
        now_s = self._clock.monotonic_s()
        return tuple(sorted(name for name, each in self._now.items() if now_s - each.began_s >= LASTING_S))

    def lasting(self) -> tuple[str, ...]:
        """The sentences of failures that have lasted, for /readyz, by activity."""
        now_s = self._clock.monotonic_s()
        return tuple(
            f"{activity}: {trouble.sentence}"
            for activity, trouble in sorted(self._now.items())
            if trouble.is_readiness and now_s - trouble.began_s >= LASTING_S
        )
