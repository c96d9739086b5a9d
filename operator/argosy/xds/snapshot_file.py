"""The xDS snapshot on disk: what a process serves until its caches have synced.

Owns the file: one line with a magic word and a checksum, then the resources as protobuf. Input and output:
a `Snapshot`; for a damaged file the answer is `Unreadable`, with the reason. It stands in `xds` rather than
in `files` because its content is protobuf.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from argosy.errors import InvariantError
from argosy.files import atomic
from argosy.xds.snapshot import PackedResource, ResourceSet, Snapshot, TypeUrl

FILE_NAME = "xds-snapshot.bin"
_MAGIC = "argosy-xds-snapshot-1"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that cannot be used, and why."""

    path: Path
    reason: str

    @property
    def message(self) -> str:
        """A sentence for the log."""
        return f"the xDS snapshot in {self.path} is ignored: {self.reason}"


def save(snapshot: Snapshot, directory: Path) -> Path:
    """Replace the file in `directory` (made if missing) and return its path. Raises OSError."""
    body = _to_bytes(snapshot)
    head = f"{_MAGIC} {hashlib.sha256(body).hexdigest()}\n".encode()
    target = directory / FILE_NAME
    # Durable: it is what Envoys are served after a restart in which the API server cannot be reached.
    atomic.write_bytes(target, head + body, mode=atomic.OWNER_ONLY, is_durable=True)
    return target


def load(directory: Path) -> Snapshot | Unreadable | None:
    """The saved snapshot; None where there is no file."""
    path = directory / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Unreadable(path, str(error))
    head, _, body = content.partition(b"\n")
    magic, _, checksum = head.decode(errors="replace").partition(" ")
    if magic != _MAGIC:
        return Unreadable(path, f"it does not begin with {_MAGIC}")
    if hashlib.sha256(body).hexdigest() != checksum:
        return Unreadable(path, "its checksum does not match; it was cut off or changed")
    try:
        return _from_bytes(body)
    except (DecodeError, InvariantError, ValueError) as error:
        return Unreadable(path, str(error))


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
