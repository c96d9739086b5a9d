"""Envoy's side of routing: resources, xDS snapshots, and the server that hands them out.

    resources     a route table as protobufs (with `routes`, `listener`)
    snapshot      an immutable, reference-checked set of them, versioned by content
    subscription  what one stream asked for and was given; decides what goes next
    cache         the current xDS snapshot, what each Envoy made of it, roll-back
    server        the ADS server (grpc.aio)         copy  the snapshot on disk

Import the modules, not this package. Protobuf stays in here.
"""
