"""What a look at an installation found, and what is wrong with it, as data.

Owns the shapes: `Installation` is the input of `findings`, `Finding` its output. Times are seconds since
the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from argosy.control.survey.permissions import Permission
from argosy.snapshot.fleet import FleetSnapshot


class Severity(StrEnum):
    """How much a finding matters."""

    BROKEN = "Broken"
    """Something does not work, or soon will not."""
    WARNING = "Warning"
    """It works, and not as well as it was asked to."""
    HINT = "Hint"
    """It is as it was asked to be, and may surprise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what it is about, what was found, and what to do."""

    severity: Severity
    about: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """The election's Lease. holder: empty where it was released; is_renewed: it was seen to be held."""

    holder: str
    is_renewed: bool
    renewed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """One look at a cluster.

    snapshot:    the objects that could be listed, at the API server's time; its Envoys are those that the
                 replicas of the operator list
    namespace:   the operator's
    account:     the ServiceAccount whose permissions were looked at; empty: the caller's own
    definitions: the CustomResourceDefinitions by plural; None: there is none
    unread:      why objects of a plural could not be listed
    denied:      what the account may not do
    unreviewed:  why its permissions could not be looked at; else empty
    lease:       None where there is none
    clock_offset_s: this machine's clock against the API server's (positive: ahead); None: not known
    """

    snapshot: FleetSnapshot
    namespace: str
    account: str = ""
    definitions: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    denied: tuple[Permission, ...] = ()
    unreviewed: str = ""
    has_namespace: bool = True
    lease: LeaseSeen | None = None
    clock_offset_s: float | None = None

    @property
    def has_leader(self) -> bool:
        """Whether an operator leads, so that statuses are those of now."""
        return self.lease is not None and bool(self.lease.holder) and self.lease.is_renewed
