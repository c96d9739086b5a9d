"""What can go wrong with the live fleet, each with a sentence for the user.

SpecError
├── EnginePortTakenError   another process listens on the engine port, on this or on every address
├── NoAddressBlockError    every 127.R.0.0/16 block is claimed
├── FleetRunningError      the state directory belongs to a running fleet, or holds other files
├── FleetNotRunningError   a command for a fleet that does not run
├── AttachError            the fleet cannot be attached to the cluster: what failed, and the remedy
└── UnknownTargetError     a command names a node or pod that the fleet does not have
"""

from __future__ import annotations

from argosy.errors import SpecError


class EnginePortTakenError(SpecError):
    """The port on which engines should listen is in use."""

    def __init__(self, address: str, port: int, field: str = "") -> None:
        super().__init__(
            f"port {port} cannot be had on {address}: another process listens on it there, or on "
            f"0.0.0.0:{port}, which is every address; end it, or choose another engine port",
            field,
        )
        self.port = port


class NoAddressBlockError(SpecError):
    """No block of loopback addresses is left."""


class FleetRunningError(SpecError):
    """The state directory is in use."""


class FleetNotRunningError(SpecError):
    """No fleet answers in the state directory."""


class AttachError(SpecError):
    """This host, or the cluster, cannot have simulated nodes whose pods run here."""


class UnknownTargetError(SpecError):
    """A node or pod that this fleet does not have."""
