"""Addresses and ports are claimed by binding: two fleets never meet."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from argosy_sim.livefleet.addresses import AddressClaim, listen_on
from argosy_sim.livefleet.errors import EnginePortTakenError


@pytest.fixture
def claim() -> Iterator[AddressClaim]:
    with AddressClaim.claim() as claim:
        yield claim


def test_two_fleets_get_different_blocks_and_may_share_the_port(claim: AddressClaim) -> None:
    with AddressClaim.claim(claim.engine_port) as other:
        assert other.network != claim.network
        assert other.engine_port == claim.engine_port
        for fleet in (claim, other):
            listen_on(fleet.next_address(), fleet.engine_port).close()


def test_a_block_is_free_again_once_it_is_given_back(claim: AddressClaim) -> None:
    with AddressClaim.claim() as other:
        prefix = other.prefix
    with AddressClaim.claim() as later:
        assert later.prefix == prefix


def test_addresses_are_not_given_twice(claim: AddressClaim) -> None:
    given = [claim.next_address() for _ in range(600)]
    assert len(set(given)) == 600
    assert all(address.startswith(f"{claim.prefix}.") for address in given)
    assert f"{claim.prefix}.0.1" not in given


def test_a_port_in_use_on_every_address_is_skipped() -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        taken = everywhere.getsockname()[1]
        with pytest.raises(EnginePortTakenError, match=rf"or on 0\.0\.0\.0:{taken}, which is every address"):
            AddressClaim.claim(taken)
        with AddressClaim.claim() as claim:
            assert claim.engine_port != taken


def test_a_failed_claim_gives_its_block_back(claim: AddressClaim) -> None:
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        for _ in range(300):  # more often than there are blocks
            with pytest.raises(EnginePortTakenError):
                AddressClaim.claim(everywhere.getsockname()[1])
