"""Fields of Envoy's messages that the protobuf bindings do not have yet.

Owns their encoding: such a field is appended in wire format, and protobuf keeps it as an unknown
field. All of them are here, so that they can be deleted together once the bindings have them.
"""

from __future__ import annotations

from typing import Any

_REFRESH_CLUSTER_ON_RETRY = b"\x70\x01"
"""RetryPolicy.refresh_cluster_on_retry = true: field 14, varint."""


def retry_in_another_cluster(retry_policy: Any) -> Any:
    """`retry_policy`, with the cluster chosen anew for each try; returns it for chaining.

    Without it a retry stays in the cluster that the first try drew: a cluster whose only replica
    has just died then loses its whole share (measured: 42 of 100 requests; with it, none). An
    Envoy too old for the field ignores it.
    """
    retry_policy.MergeFromString(_REFRESH_CLUSTER_ON_RETRY)
    return retry_policy
