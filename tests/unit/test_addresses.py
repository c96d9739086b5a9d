"""`host:port` as flags give it: read, refused with the form that is needed, written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.addresses import (
    DEFAULT_ADS,
    canonical,
    host_and_port,
    is_every_address,
    peer_address,
    written,
)
from argosy.errors import SpecError

FLAG = "--ads"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("127.0.0.1:18000", ("127.0.0.1", 18000), id="an address"),
        pytest.param("argosy.argosy-system.svc:18000", ("argosy.argosy-system.svc", 18000), id="a name"),
        pytest.param("[::1]:18000", ("::1", 18000), id="an IPv6 address"),
        pytest.param("[fe80::1%eth0]:18000", ("fe80::1%eth0", 18000), id="an IPv6 address of one link"),
        pytest.param("[::]:0", ("::", 0), id="all IPv6 addresses, any port"),
        pytest.param(DEFAULT_ADS, ("127.0.0.1", 18000), id="the default"),
    ],
)
def test_a_host_and_a_port_are_read(text: str, found: tuple[str, int]) -> None:
    assert host_and_port(text, FLAG) == found
    assert written(*found) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("::1:18000", "is an IPv6 address without brackets; write [::1]:18000", id="no brackets"),
        pytest.param("::1", "is an IPv6 address without brackets; write [::1]:PORT", id="no port either"),
        pytest.param(
            "fd00::12", "is an IPv6 address without brackets; write [fd00::12]:PORT", id="an end like a port"
        ),
        pytest.param("[::1]", "is not host:port, such as 127.0.0.1:18000", id="brackets and no port"),
        pytest.param("[::1:18000", "is not host:port, such as 127.0.0.1:18000", id="one bracket"),
        pytest.param("[edge]:18000", "is not host:port, such as 127.0.0.1:18000", id="a name in brackets"),
        pytest.param("http://edge:18000", "is not host:port, such as 127.0.0.1:18000", id="a URL"),
        pytest.param(":18000", "is not host:port, such as 127.0.0.1:18000", id="no host"),
        pytest.param("edge", "is not host:port, such as 127.0.0.1:18000", id="no port"),
        pytest.param("edge:65536", "is not host:port, such as 127.0.0.1:18000", id="too high a port"),
        pytest.param(
            "edge:\u0661", "is not host:port, such as 127.0.0.1:18000", id="digits of another script"
        ),
    ],
)
def test_what_is_no_address_is_refused_with_the_form_that_is_needed(text: str, sentence: str) -> None:
    for read in (host_and_port, peer_address):
        with pytest.raises(SpecError) as raised:
            read(text, FLAG)
        assert str(raised.value) == f"{FLAG}: {text!r} {sentence}"


def test_port_0_is_for_listening_only() -> None:
    with pytest.raises(SpecError, match=r"^--ads: '\[::1\]:0' needs a port from 1 to 65535, such as "):
        peer_address("[::1]:0", FLAG)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_that_is_written_is_read_as_it_was(address: object, port: int) -> None:
    assert peer_address(written(str(address), port), FLAG) == (str(address), port)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("FD00:0010:0244::0012", "fd00:10:244::12"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("argosy.argosy-system.svc", "argosy.argosy-system.svc"),
    ],
)
def test_an_address_has_one_form(host: str, found: str) -> None:
    assert canonical(host) == found


def test_every_address_of_either_family_is_told_from_one() -> None:
    assert [is_every_address(each) for each in ("0.0.0.0", "::", "::1", "10.0.0.0", "name")] == [
        True,
        True,
        False,
        False,
        False,
    ]
