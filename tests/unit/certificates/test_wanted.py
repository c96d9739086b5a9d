"""Hosts and lifetimes that can be used, and sentences for those that cannot."""

from __future__ import annotations

import datetime as dt

import pytest

from argosy.certificates.wanted import require_host, require_lifetimes
from argosy.errors import SpecError


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("argosy.argosy-system.svc", "argosy.argosy-system.svc"),
        ("localhost", "localhost"),
        ("*.argosy.svc", "*.argosy.svc"),
        ("10.0.0.7", "10.0.0.7"),
        ("FD00::0007", "fd00::7"),
    ],
)
def test_names_and_addresses_are_hosts(text: str, host: str) -> None:
    assert require_host(text) == host


@pytest.mark.parametrize(
    "text",
    ["", "argosy:18000", "[::1]:18000", "https://argosy", "Argosy.svc", "a..b", "-a", "a b", "a" * 254],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SpecError) as raised:
        require_host(text)
    assert str(raised.value) == (
        f"--host: {text!r} is no DNS name in lower case and no IP address, such as argosy.argosy-system.svc"
        " (without a port)"
    )


def test_an_authority_outlives_two_certificates() -> None:
    day = dt.timedelta(days=1)
    require_lifetimes(90 * day, 180 * day)
    with pytest.raises(SpecError) as raised:
        require_lifetimes(90 * day, 179 * day)
    assert str(raised.value) == (
        "--authority-days: 179 days are too few for certificates of 90 days: an authority needs at least"
        " twice their lifetime, 180"
    )
