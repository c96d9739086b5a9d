"""What can go wrong with the embedded control plane, each with a sentence for the user.

SpecError
├── MissingBinaryError        a program is not found and cannot be built: names what to install
├── PortTakenError            a port the user named is in use
├── StateDirectoryInUseError  the directory holds a running control plane, or foreign files
└── BackupError               a copy of etcd's data cannot be made, or is not one of this control plane
ActuationError
├── BuildError          Go refused (network, disk, compiler): its last lines
└── StartError          a component ended or did not become ready: its last log lines
"""

from __future__ import annotations

from argosy.errors import ActuationError, NextStep, SpecError


class MissingBinaryError(SpecError):
    """A program is neither installed nor cached, and cannot be built."""


class PortTakenError(SpecError):
    """A loopback port is in use by another process."""

    def __init__(self, port: int, field: str = "") -> None:
        super().__init__(
            f"port {port} on 127.0.0.1 is in use by another process; "
            "free it, or name no port and a free one is chosen",
            field,
        )
        self.port = port


class StateDirectoryInUseError(SpecError):
    """The state directory belongs to a running control plane, or holds other files."""


class BackupError(SpecError):
    """A copy of etcd's data cannot be written or read, or is another control plane's."""


class BuildError(ActuationError):
    """`go build` failed; the message ends with what it said."""

    def __init__(self, message: str) -> None:
        super().__init__(message, NextStep.RETRY)


class StartError(ActuationError):
    """A component ended early or did not get ready in time; the message ends with its log."""

    def __init__(self, message: str) -> None:
        super().__init__(message, NextStep.GIVE_UP)
