"""Envoy's side of routing: resources, xDS snapshots, and the server that sends them.

    resources     a route table as protobufs (with `routes`, `listener`)
    hop           what ends the connections of a dead replica (with `health`)
    waiting       where requests wait while no replica is healthy
    packing       deterministic bytes
    snapshot      an immutable, reference-checked set of resources, versioned by content
    subscription  one stream's watches; which response goes next
    cache         the current xDS snapshot, what each Envoy acknowledged or refused, roll-back
    server        the ADS server (grpc.aio)         snapshot_file   the snapshot on disk

Import the modules, not this package. Protobuf is used nowhere else.
"""
