"""Records: their latencies and their lines in a file."""

from __future__ import annotations

import pytest
from made_records import answered, lost

from argosy.client.records import Outcome, read_records


def test_latencies_count_from_sending_and_itl_is_the_mean_gap() -> None:
    record = answered(ttft_ms=500, itl_ms=40)
    assert record.ttft_ms == pytest.approx(500)
    assert record.itl_ms == pytest.approx(40)
    assert record.e2e_ms == pytest.approx(1150)


def test_a_single_token_has_no_gap_and_a_lost_request_no_end() -> None:
    assert answered(500, 40, num_tokens=1).itl_ms == 0
    assert lost().e2e_ms is None
    assert lost().itl_ms is None
    assert lost(Outcome.REFUSED).is_lost


def test_a_record_survives_its_file_and_a_torn_last_line_is_passed_over() -> None:
    records = [answered(100, 10), lost()]
    lines = [record.to_json() + "\n" for record in records]
    assert list(read_records([*lines, lines[0][:50]])) == records
