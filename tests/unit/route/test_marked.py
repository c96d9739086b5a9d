"""Marked endpoints leave the rotation, but not the last one of a cell that is planned."""

from __future__ import annotations

import pytest

from argosy.keys import DeploymentKey
from argosy.route.marked import with_last_holders_kept, with_last_ones_kept
from argosy.route.table import Endpoint, EndpointState

A, B = DeploymentKey("default/a"), DeploymentKey("default/b")
READY, MARKED, DRAINING, NOT_READY = (
    EndpointState.READY,
    EndpointState.MARKED,
    EndpointState.DRAINING,
    EndpointState.NOT_READY,
)


@pytest.mark.parametrize(
    ("states_a", "states_b", "served_by", "yielding", "expected"),
    [
        pytest.param([MARKED, READY], [], [{A}], set(), ([MARKED, READY], []), id="another takes them"),
        pytest.param([MARKED], [READY], [{A, B}], set(), ([MARKED], [READY]), id="another cluster does"),
        pytest.param([MARKED], [READY], [{A}, {B}], set(), ([READY], [READY]), id="none of its cell does"),
        pytest.param([MARKED, MARKED], [MARKED], [{A, B}], set(), ([READY, READY], [READY]), id="all marked"),
        pytest.param([MARKED, DRAINING, NOT_READY], [], [{A}], set(), ([READY, DRAINING, NOT_READY], []),
                     id="the others take none"),
        pytest.param([MARKED], [MARKED], [{A, B}], {B}, ([READY], [MARKED]), id="its users let it go"),
        pytest.param([MARKED], [MARKED], [{A}], set(), ([READY], [MARKED]), id="it serves no cell"),
        pytest.param([MARKED], [READY], [{B}, {A}], set(), ([READY], [READY]), id="the other order"),
        pytest.param([], [MARKED], [{A, B}], set(), ([], [READY]), id="a cluster without endpoints"),
    ],
)  # fmt: skip
def test_a_planned_cell_keeps_its_last_endpoint(
    states_a: list[EndpointState],
    states_b: list[EndpointState],
    served_by: list[set[DeploymentKey]],
    yielding: set[DeploymentKey],
    expected: tuple[list[EndpointState], list[EndpointState]],
) -> None:
    endpoints = {
        name: tuple(Endpoint("10.0.0.1", 8000 + i, f"default/{i}", state) for i, state in enumerate(states))
        for name, states in ((A, states_a), (B, states_b))
    }
    found = with_last_ones_kept(endpoints, served_by, yielding)
    assert tuple([each.state for each in found[name]] for name in (A, B)) == expected
    assert [each.port for each in found[A]] == [each.port for each in endpoints[A]]


def test_a_planned_cluster_of_which_no_pod_runs_has_no_endpoints() -> None:
    assert with_last_ones_kept({}, [{A}], set()) == {}


SQL, LAW, BOTH, NONE = ("sql",), ("law",), ("sql", "law"), ()


@pytest.mark.parametrize(
    ("of_a", "of_b", "yielding", "expected"),
    [
        pytest.param([(MARKED, SQL), (READY, SQL)], [], set(), ([MARKED, READY], []), id="another holds it"),
        pytest.param([(MARKED, SQL)], [(READY, SQL)], set(), ([MARKED], [READY]), id="another cluster does"),
        pytest.param([(MARKED, SQL), (READY, NONE)], [], set(), ([READY, READY], []), id="the last one"),
        pytest.param([(MARKED, BOTH), (READY, SQL)], [], set(), ([READY, READY], []), id="the last of one"),
        pytest.param([(MARKED, SQL), (MARKED, SQL)], [], set(), ([READY, MARKED], []), id="one is enough"),
        pytest.param([(MARKED, SQL), (NOT_READY, SQL)], [], set(), ([READY, NOT_READY], []), id="not ready"),
        pytest.param([(MARKED, SQL)], [(READY, NONE)], {A}, ([MARKED], [READY]), id="its users let it go"),
        pytest.param([(MARKED, ("gone",))], [(READY, NONE)], set(), ([MARKED], [READY]), id="it is no more"),
        pytest.param([(DRAINING, SQL)], [(READY, NONE)], set(), ([DRAINING], [READY]), id="already ending"),
        pytest.param([(MARKED, NONE)], [(READY, LAW)], set(), ([MARKED], [READY]), id="it holds none"),
    ],
)  # fmt: skip
def test_the_last_replica_that_holds_an_adapter_stays_in_rotation(
    of_a: list[tuple[EndpointState, tuple[str, ...]]],
    of_b: list[tuple[EndpointState, tuple[str, ...]]],
    yielding: set[DeploymentKey],
    expected: tuple[list[EndpointState], list[EndpointState]],
) -> None:
    endpoints = {
        name: tuple(
            Endpoint("10.0.0.1", 8000, f"{name}-{i}", state, held) for i, (state, held) in enumerate(its)
        )
        for name, its in ((A, of_a), (B, of_b))
    }
    found = with_last_holders_kept(endpoints, [{A, B}], yielding, {"sql", "law"})
    assert tuple([each.state for each in found[name]] for name in (A, B)) == expected
