"""The fast part of the table of faults: the cases that take seconds and that no other test here covers.

On a stage of its own, whose engines load within a second; `make faults` runs all cases at the loading times
of real engines.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy_sim.faults import table
from argosy_sim.faults.cases import CASES
from argosy_sim.faults.run import FaultSettings, run_cases
from argosy_sim.livefleet.spec import DEFAULT_FLEET

REPOSITORY = Path(__file__).parents[2]
FLEET = DEFAULT_FLEET.model_copy(update={"load_seconds": 1.0})


@pytest.mark.timeout(280)
async def test_the_fast_faults_end_as_the_table_asks(tmp_path: Path) -> None:
    cases = [case for case in CASES if case.in_tests]
    settings = FaultSettings(REPOSITORY, tmp_path, FLEET)
    said: list[str] = []
    results = [result async for result in run_cases(cases, settings, said.append)]
    assert len(results) == len(cases) > 0
    assert table.failing(results) == [], said
