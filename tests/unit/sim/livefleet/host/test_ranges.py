"""Which /16 the pods of an attached fleet get."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argosy_sim.livefleet.errors import AttachError
from argosy_sim.livefleet.host.ranges import Taken, free_range, parse_range

NETWORKS = st.builds(
    lambda prefix, length: IPv4Network(f"{prefix}/{length}", strict=False),
    st.sampled_from(["198.18.0.0", "198.19.255.1", "10.201.0.0", "10.203.7.0", "172.16.0.1", "192.168.0.0"]),
    st.sampled_from([12, 15, 16, 24, 32]),
)


def taken(*networks: str) -> list[Taken]:
    return [Taken(IPv4Network(each), f"user {number}") for number, each in enumerate(networks)]


def test_without_a_choice_the_first_that_is_free_is_taken() -> None:
    assert str(free_range(None, [])) == "198.18.0.0/16"
    assert str(free_range(None, taken("198.18.3.4/32"))) == "198.19.0.0/16"
    assert str(free_range(None, taken("198.18.0.0/15", "10.201.0.0/24"))) == "10.202.0.0/16"


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(NETWORKS, max_size=6))
def test_a_range_that_is_found_meets_none_that_is_taken(networks: list[IPv4Network]) -> None:
    found = free_range(None, [Taken(each, "x") for each in networks])
    assert found.prefixlen == 16
    assert not any(each.overlaps(found) for each in networks)


def test_a_chosen_range_that_is_taken_is_refused_with_its_user() -> None:
    with pytest.raises(
        AttachError, match=r"--pod-range: 10\.0\.0\.0/16 is taken: user 1 has 10\.0\.8\.0/24; name"
    ):
        free_range(parse_range("10.0.0.0/16"), taken("192.168.0.0/16", "10.0.8.0/24"))


def test_a_range_within_a_larger_one_that_is_taken_is_refused() -> None:
    with pytest.raises(AttachError, match=r"user 0 has 10\.0\.0\.0/8"):
        free_range(parse_range("10.9.0.0/16"), taken("10.0.0.0/8"))


def test_where_all_are_taken_the_user_has_to_name_one() -> None:
    with pytest.raises(AttachError, match=r"are taken by the cluster or this host; name another private /16"):
        free_range(None, taken("198.18.0.0/15", "10.0.0.0/8"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pods", "does not appear to be an IPv4 or IPv6 network; name a network such as 198"),
        ("10.1.2.3/16", "has host bits set"),
        ("10.1.0.0/24", "is not an IPv4 network of /16"),
        ("fd00::/16", "is not an IPv4 network of /16"),
        ("127.3.0.0/16", "Kubernetes takes no endpoints in 127"),
        ("169.254.0.0/16", "Kubernetes takes no endpoints in 169"),
        ("224.0.0.0/16", "Kubernetes takes no endpoints in 224"),
        ("8.8.0.0/16", "is a part of the Internet"),
    ],
)
def test_a_range_that_pods_cannot_have_is_refused(text: str, why: str) -> None:
    with pytest.raises(AttachError, match=why):
        parse_range(text)


@pytest.mark.parametrize("text", ["198.18.0.0/16", "10.7.0.0/16", "172.20.0.0/16", "100.64.0.0/16"])
def test_private_ranges_can_be_chosen(text: str) -> None:
    assert str(free_range(parse_range(text), [])) == text
