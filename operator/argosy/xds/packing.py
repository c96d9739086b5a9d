"""What every resource needs: packing of protobuf messages, durations, ADS as the source, metadata keys.

Owns the keys under which the listener, the routes and the access log share what is known of a request, and
deterministic packing: equal messages become equal bytes, in every process, because the versions
of xDS resources are hashes of them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from envoy.config.core.v3 import config_source_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

METADATA_NAMESPACE = "argosy"
MODEL_KEY = "model"
"""Dynamic metadata: read from the JSON body."""
REFUSAL_KEY = "refusal"
CLASS_KEY = "class"
"""Metadata of routes."""

SUBSET_NAMESPACE = "envoy.lb"
"""Metadata of endpoints: where Envoy looks for what chooses a subset of a cluster's endpoints."""
REPLICA_KEY = "replica"
ADAPTER_KEY = "adapter"
"""Also metadata of routes: the LoRA adapter that requests name."""
TAKES_KEY, TAKES_ANY = "takes", "any"
"""Metadata of endpoints of a cluster with adapters: those for requests that name none."""
REPLICA_ADDRESS = f"%UPSTREAM_METADATA({SUBSET_NAMESPACE}:{REPLICA_KEY})%"
"""`ip:port` of the replica that a request was sent to, in Envoy's format language: its own word for the
upstream host is the hop."""

EnvoyMessage: TypeAlias = Any
"""A message of Envoy's. The bindings ship no types."""


def duration(seconds: float) -> Duration:
    """A duration, to the millisecond."""
    milliseconds = round(seconds * 1000)
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def any_of(message: Message) -> AnyMessage:
    """`message` with its type; map entries in sorted order, so that bytes can be compared."""
    packed = AnyMessage()
    packed.Pack(message, deterministic=True)
    return packed


def ads_source() -> EnvoyMessage:
    """The configuration source of resources that come from the same ADS server."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
    )
