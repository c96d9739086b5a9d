"""How single figures are written."""

from __future__ import annotations

from argosy.snapshot import Slo, SloTerm, Term
from argosy_sim.measures.intervals import Interval, TooFew
from argosy_sim.report.wording import promised_shares, saved, share, share_bounds, slo


def test_a_share_is_cut_so_that_a_broken_promise_never_reads_as_kept() -> None:
    assert share(0.9499).replace("\N{NO-BREAK SPACE}", " ") == "94.9 %"
    assert share(0.95).replace("\N{NO-BREAK SPACE}", " ") == "95.0 %"
    assert saved(2.0, 1.0).replace("\N{NO-BREAK SPACE}", " ") == "100 % more"


def test_the_bounds_of_a_share_are_cut_like_the_share() -> None:
    assert share_bounds(Interval(0.99, 0.96789, 0.99999, 0.95)) == "96.7–99.9"
    assert share_bounds(TooFew.of(0, 1)) == share_bounds(None) == "–"


def test_an_slo_reads_as_its_author_wrote_it() -> None:
    promised = Slo((SloTerm(Term.TTFT, 0.95, 2000.0), SloTerm(Term.ITL, 0.95, 100.0)))
    assert slo(promised).replace("\N{NO-BREAK SPACE}", " ") == "TTFT p95 ≤ 2 s, ITL p95 ≤ 100 ms"
    assert promised_shares(promised).replace("\N{NO-BREAK SPACE}", " ") == "95.0 %"
