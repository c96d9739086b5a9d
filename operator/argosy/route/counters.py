"""How a route cell's counters are named at Envoy, and back.

Owns the one spelling of a cell's name that is safe in Envoy's statistics. A class's requests are the
sum over its cells: which cells those are, `control.cells` knows.

Envoy counts a cell's requests as `vhost.argosy.route.<stat prefix>.upstream_rq_*`. Its
Prometheus output turns the prefix into the label `envoy_route`, but only up to the first dot:
two cells of one namespace would share the label. Hence no dots: `default/chat` is
`default_chat`, `default/chat.v2` is `default_chat__v2`. Neither `_` nor `/.` nor `..` occurs in
Kubernetes names or in names of bands, so the way back is unique.
"""

from __future__ import annotations

from argosy.keys import CellName

VIRTUAL_HOST = "argosy"
"""Name of the one virtual host, part of every counter's name."""

GATEWAY = "gateway"
"""Stat prefix of the one listener for users: `http.gateway.downstream_rq_total` counts what came in."""

REFUSED_PREFIX, REFUSED_COUNTER, REFUSED_CELL = "argosy", "refused_requests", "argosy_cell"
"""Prefix, name and label of the counter of requests that Envoy refused because of a limit.

`/stats` shows it as `argosy.refused_requests.argosy_cell.<cell>`, with the cell's own name; the
Prometheus output as `envoy_argosy_refused_requests{argosy_cell="<cell>"}`.
"""

ADAPTER_COUNTER, ADAPTER_NAME = "adapter_requests", "argosy_adapter"
"""Name and second label of the counter of requests by LoRA adapter; `REFUSED_PREFIX` is its prefix too, and
the cell its first label.

`/stats` shows it as `argosy.adapter_requests.argosy_cell.<cell>.argosy_adapter.<adapter>`, the Prometheus
output as `envoy_argosy_adapter_requests{argosy_cell="<cell>",argosy_adapter="<adapter>"}`. A request is
counted at its end, whatever became of it: also one that no replica could take. The name of the adapter is
the last part, written as it is, whatever it has of dots and colons (Envoy 1.40); one that names none counts
for an empty name.
"""

ENDPOINT_ENDING = "#waiting"
"""Of the ids of endpoints at Envoy that are no replica: `/clusters` has them beside those of replicas."""


def stat_prefix_of(cell: CellName) -> str:
    """A cell's name as Envoy's counters spell it."""
    return cell.replace(".", "__").replace("/", "_")


def cell_of(stat_prefix: str) -> CellName:
    """The cell that `stat_prefix_of` made this prefix from."""
    return CellName(stat_prefix.replace("__", ".").replace("_", "/"))
