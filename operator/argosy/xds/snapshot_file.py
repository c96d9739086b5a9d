"""The xDS snapshot on disk: what a process serves until its caches have synced.

Owns the file: one line with a magic word, a checksum and the uid of the cluster, then the resources as
protobuf. Input and output: a `Snapshot` and its cluster; for a file that is damaged, or of another
cluster, the answer is `UnreadableSnapshot`, with the reason. It stands in `xds` rather than in `files`
because its content is protobuf.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from argosy.errors import InvariantError
from argosy.files import atomic
from argosy.files.origin import foreign
from argosy.refusals import Refused
from argosy.xds.snapshot import PackedResource, ResourceSet, Snapshot, TypeUrl

FILE_NAME = "xds-snapshot.bin"
_MAGIC = "argosy-xds-snapshot-2"


class UnreadableSnapshotReason(StrEnum):
    """Why a file gives no snapshot."""

    CANNOT_OPEN = "CannotOpen"
    OTHER_FORMAT = "OtherFormat"
    """Not this kind of file, or of another version."""
    DAMAGED = "Damaged"
    BAD_CONTENT = "BadContent"
    """Whole, but its resources cannot be read or contradict each other."""
    OTHER_CLUSTER = "OtherCluster"
    """The state directory was used on another cluster: its engines are not here."""


@dataclass(frozen=True, slots=True)
class UnreadableSnapshot(Refused[UnreadableSnapshotReason]):
    """A file that cannot be used, and why, in a sentence for the log."""


@dataclass(frozen=True, slots=True)
class SavedSnapshot:
    """A snapshot from the file. cluster: the uid of the cluster that it is of; empty where not known."""

    snapshot: Snapshot
    cluster: str


def save(snapshot: Snapshot, directory: Path, cluster: str = "") -> Path:
    """Replace the file in `directory` (made if missing) and return its path. Raises OSError."""
    body = _to_bytes(snapshot)
    head = f"{_MAGIC} {hashlib.sha256(body).hexdigest()} {cluster}\n".encode()
    target = directory / FILE_NAME
    # Durable: it is what Envoys are served after a restart in which the API server cannot be reached.
    atomic.write_bytes(target, head + body, mode=atomic.OWNER_ONLY, is_durable=True)
    return target


def load(directory: Path, cluster: str = "") -> SavedSnapshot | UnreadableSnapshot | None:
    """The saved snapshot; None where there is no file. cluster: of this process, empty where not known."""
    path = directory / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return _ignored(path, UnreadableSnapshotReason.CANNOT_OPEN, str(error))
    head, _, body = content.partition(b"\n")
    magic, _, rest = head.decode(errors="replace").partition(" ")
    checksum, _, stored = rest.partition(" ")
    if magic != _MAGIC:
        return _ignored(path, UnreadableSnapshotReason.OTHER_FORMAT, f"it does not begin with {_MAGIC}")
    if hashlib.sha256(body).hexdigest() != checksum:
        why = "its checksum does not match; it was cut off or changed"
        return _ignored(path, UnreadableSnapshotReason.DAMAGED, why)
    if why := foreign(stored, cluster):
        return _ignored(path, UnreadableSnapshotReason.OTHER_CLUSTER, why)
    try:
        return SavedSnapshot(_from_bytes(body), stored)
    except (DecodeError, InvariantError, ValueError) as error:
        return _ignored(path, UnreadableSnapshotReason.BAD_CONTENT, str(error))


def _ignored(path: Path, reason: UnreadableSnapshotReason, why: str) -> UnreadableSnapshot:
    return UnreadableSnapshot(reason, f"the xDS snapshot in {path} is ignored: {why}")


def _to_bytes(snapshot: Snapshot) -> bytes:
    # Each resource's `version` carries its set's revision: sets may differ after a roll-back.
    resources = [
        discovery_pb2.Resource(name=name, version=str(section.revision), resource=resource.to_any())
        for section in (snapshot.resources(each) for each in TypeUrl)
        for name, resource in sorted(section.by_name.items())
    ]
    bundle = discovery_pb2.DeltaDiscoveryResponse(
        resources=resources, system_version_info=str(snapshot.revision)
    )
    return bytes(bundle.SerializeToString(deterministic=True))


def _from_bytes(body: bytes) -> Snapshot:
    bundle = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
    found: dict[TypeUrl, dict[str, PackedResource]] = defaultdict(dict)
    revisions = dict.fromkeys(TypeUrl, int(bundle.system_version_info))
    for entry in bundle.resources:
        resource_type = TypeUrl(entry.resource.type_url)
        packed = entry.resource.SerializeToString(deterministic=True)
        digest = hashlib.sha256(packed).hexdigest()
        found[resource_type][entry.name] = PackedResource(entry.name, packed, digest)
        revisions[resource_type] = int(entry.version)
    return Snapshot.of_sets({each: ResourceSet(revisions[each], found[each]) for each in TypeUrl})
