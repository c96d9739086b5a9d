"""Gateway API's precedence over the route table; tests/contract/envoy has the same cases for a real Envoy."""

from __future__ import annotations

import pytest
from conformance_cases import CASES, Case, first_taker

from argosy.route.compile import RouteInputs, compile_routes
from argosy.route.table import Gateway


@pytest.mark.parametrize("case", CASES)
def test_the_first_route_that_fits_is_the_class_that_gateway_api_chooses(case: Case) -> None:
    table = compile_routes(RouteInputs(Gateway("0.0.0.0", 8080), None, case.classes()))
    matches = {entry.class_key: entry.match for entry in table.routes}
    found = [first_taker(matches, asked) for asked in case.asked]
    assert found == [asked.expected for asked in case.asked]
