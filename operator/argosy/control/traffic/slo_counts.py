"""What one reading adds to the counters of each class's SLO: requests, and those that missed a term.

Owns which of the answers were certainly late. Input: a snapshot, the history before the reading, and what
was measured. Output: `ClassCounts`, for counters that only grow: over any window, the share of requests that
missed a term is 1 - (1 - late / answers) x (1 - failed / requests), as in `demand.observed.Observed.kept`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.control.candidates.workload import slo_of
from argosy.control.cells import known_cells
from argosy.demand.observed import Latencies, Measured, ObservedHistory, Requests, new_latencies, new_requests
from argosy.keys import ClassKey
from argosy.snapshot import SloTerm
from argosy.snapshot.fleet import FleetSnapshot
from argosy.snapshot.histogram import total_of


@dataclass(frozen=True, slots=True)
class TermCounts:
    """Answers whose term was measured, and those of them that were above the bound.

    Buckets give an interval: `late` is its lower end.
    """

    answers: float = 0.0
    late: float = 0.0


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """What a reading adds to the counters of one class.

    requests: as Envoys count them; zero where none came, or none could be counted
    terms: every term of its SLO; the answers are those of all classes that share the engines
    """

    requests: Requests = field(default_factory=Requests)
    terms: Mapping[SloTerm, TermCounts] = field(default_factory=dict)


def slo_counts(
    snapshot: FleetSnapshot, history: ObservedHistory, measured: Measured
) -> dict[ClassKey, ClassCounts]:
    """Of every class; `history` is that before this reading."""
    cells = known_cells(snapshot)
    latencies, requests = new_latencies(history, measured), new_requests(history, measured)
    found: dict[ClassKey, ClassCounts] = {}
    for key, item in snapshot.classes.items():
        of_groups = [latencies[group] for group in cells.groups_of(key) if group in latencies]
        terms = {term: _counts(term, of_groups) for term in slo_of(item).terms}
        found[key] = ClassCounts(requests.get(key, Requests()), terms)
    return found


def _counts(term: SloTerm, of_groups: list[Latencies]) -> TermCounts:
    total = total_of(each[term.term] for each in of_groups if term.term in each)
    within = total.share_within(term.bound_ms / 1000) if total is not None else None
    if total is None or within is None:
        return TermCounts()
    return TermCounts(total.total, total.total * (1.0 - within[1]))
