"""How a class's counters are named at Envoy, and back.

Owns the one spelling of a class key that is safe in Envoy's statistics. `telemetry` reads the
counters.

Envoy counts a class's requests as `vhost.argosy.route.<stat prefix>.upstream_rq_*`. Its
Prometheus output turns the prefix into the label `envoy_route`, but only up to the first dot:
two classes of one namespace would share the label. So there are no dots: `default/chat` is
`default_chat`, `default/chat.v2` is `default_chat__v2`. Neither `_` nor `/.` nor `..` occurs in
Kubernetes names, so the way back is unique.
"""

from __future__ import annotations

VIRTUAL_HOST = "argosy"
"""Name of the one virtual host, part of every counter's name."""


def stat_prefix_of(class_key: str) -> str:
    """`namespace/name` as Envoy's counters spell it."""
    return class_key.replace(".", "__").replace("/", "_")


def class_key_of(stat_prefix: str) -> str:
    """The class key that `stat_prefix_of` made this prefix from."""
    return stat_prefix.replace("__", ".").replace("_", "/")
