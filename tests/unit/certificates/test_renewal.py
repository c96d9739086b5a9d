"""Which certificates are made and renewed, judged by openssl; two authorities overlap in a rotation."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from made_certificates import DAY, HOUR, LOOPBACK, NOON, WANTED, later, made, openssl_verifies, pair_files

from argosy.certificates.issuing import Subject, certificates_pem, key_pem, make_authority
from argosy.certificates.reading import (
    AUTHORITY,
    CERTIFICATE,
    KEY,
    Usage,
    hosts_of,
    is_issued_by,
    read_certificates,
    read_pair,
    share_used,
    usages_of,
)
from argosy.certificates.renewal import RENEWED_AT, Held, ends, renewed
from argosy.certificates.wanted import SETTINGS, Part, Wanted, kept


def test_on_an_empty_cluster_everything_is_made_and_openssl_accepts_both_sides(tmp_path: Path) -> None:
    held = made(wanted=Wanted(("argosy.argosy-system.svc", "10.0.0.7")))
    assert set(held) == set(Part)
    trusted = held[Part.ENVOY][AUTHORITY]
    assert openssl_verifies(tmp_path / "s", held[Part.SERVER], trusted, "sslserver", NOON) == ""
    assert openssl_verifies(tmp_path / "c", held[Part.ENVOY], trusted, "sslclient", NOON) == ""


def test_a_certificate_serves_for_its_own_side_alone(tmp_path: Path) -> None:
    held = made()
    trusted = held[Part.ENVOY][AUTHORITY]
    assert openssl_verifies(tmp_path / "s", held[Part.SERVER], trusted, "sslclient", NOON)
    assert openssl_verifies(tmp_path / "c", held[Part.ENVOY], trusted, "sslserver", NOON)


def test_names_usages_lifetimes_and_keys_are_those_that_are_wanted() -> None:
    wanted = Wanted(("argosy.argosy-system.svc", "10.0.0.7"), 30 * DAY, 300 * DAY)
    held = made(wanted=wanted)
    (server,) = read_certificates(held[Part.SERVER][CERTIFICATE], "")
    (envoy,) = read_certificates(held[Part.ENVOY][CERTIFICATE], "")
    assert hosts_of(server) == wanted.hosts
    assert (usages_of(server), usages_of(envoy)) == ({Usage.SERVER}, {Usage.CLIENT})
    assert ends(held) == {
        Part.AUTHORITY: NOON + wanted.authority,
        Part.SERVER: NOON + wanted.leaf,
        Part.ENVOY: NOON + wanted.leaf,
    }
    for files in held.values():
        pair = read_pair(files[CERTIFICATE], files[KEY], ("", ""))
        assert isinstance(pair.key, ec.EllipticCurvePrivateKey)
        assert isinstance(pair.key.curve, ec.SECP256R1)


def test_a_machine_whose_clock_is_two_minutes_behind_accepts_a_new_certificate(tmp_path: Path) -> None:
    held, behind = made(), NOON - dt.timedelta(minutes=2)
    assert (
        openssl_verifies(tmp_path, held[Part.SERVER], held[Part.ENVOY][AUTHORITY], "sslserver", behind) == ""
    )


def test_where_nothing_is_due_nothing_is_written() -> None:
    held = made()
    for days in (0, 1, 20, 53):
        assert renewed(held, WANTED, NOON + days * DAY).files == {}


def test_both_certificates_are_renewed_before_two_thirds_of_their_lifetime_have_passed() -> None:
    held, now = made(), NOON
    while now < NOON + 130 * DAY:
        now += 6 * HOUR
        held = later(held, now)
        for part in (Part.SERVER, Part.ENVOY):
            (certificate,) = read_certificates(held[part][CERTIFICATE], part)
            assert share_used(certificate, now) < 2 / 3
    assert read_certificates(held[Part.AUTHORITY][AUTHORITY], "") == read_certificates(
        made_authority(held), ""
    ), "the authority is the same all the while"


def made_authority(held: Held) -> bytes:
    return held[Part.AUTHORITY][CERTIFICATE]


def without(held: Held, part: Part, name: str = "") -> Held:
    """The set without one part, or without one file of it."""
    files = {key: content for key, content in held[part].items() if name and key != name}
    return {key: content for key, content in {**held, part: files}.items() if content}


def for_the_other_side(held: Held) -> Held:
    authority = read_pair(*(held[Part.AUTHORITY][name] for name in (CERTIFICATE, KEY)), ("", ""))
    return {
        **held,
        Part.SERVER: pair_files(authority, Subject("argosy", Usage.CLIENT, (LOOPBACK,)), NOON, 90 * DAY),
    }


def of_other_authority(held: Held) -> Held:
    other = make_authority(NOON, 100 * DAY)
    files = pair_files(other, Subject("argosy", Usage.SERVER, (LOOPBACK,)), NOON, 90 * DAY)
    return {**held, Part.SERVER: {**files, AUTHORITY: held[Part.SERVER][AUTHORITY]}}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda held: without(held, Part.SERVER), "there was none"),
        (lambda held: without(held, Part.SERVER, KEY), "tls.key holds no private key that can be read"),
        (
            lambda held: {**held, Part.SERVER: {**held[Part.SERVER], CERTIFICATE: b"no PEM"}},
            "tls.crt holds no certificate that can be read",
        ),
        (
            lambda held: {**held, Part.SERVER: {**held[Part.SERVER], KEY: held[Part.ENVOY][KEY]}},
            "the key tls.key belongs to another certificate than tls.crt",
        ),
        (lambda held: {**held, Part.SERVER: held[Part.ENVOY]}, "it was for no host, and 127.0.0.1 is needed"),
        (of_other_authority, "it was of an authority that is no longer trusted"),
        (for_the_other_side, "it was for the other side of a connection (extendedKeyUsage)"),
    ],
)
def test_what_cannot_be_used_is_made_anew_with_the_reason_and_nothing_else_is(
    damage: object, reason: str, tmp_path: Path
) -> None:
    held = damage(made())  # type: ignore[operator]
    found = renewed(held, WANTED, NOON + 2 * DAY)
    assert list(found.files) == [Part.SERVER]
    assert found.reasons[Part.SERVER].startswith(reason)
    trusted = held[Part.ENVOY][AUTHORITY]
    server = found.files[Part.SERVER]
    assert openssl_verifies(tmp_path, server, trusted, "sslserver", NOON + 2 * DAY) == ""


def test_other_hosts_make_a_new_certificate_of_the_operators_alone() -> None:
    held = made()
    found = renewed(held, Wanted(("argosy.other.svc",)), NOON + DAY)
    assert found.reasons == {Part.SERVER: "it was for 127.0.0.1, and argosy.other.svc is needed"}
    assert kept({**held, **found.files}) == Wanted(("argosy.other.svc",))


def test_a_certificate_that_ended_while_nothing_renewed_it_is_replaced() -> None:
    found = renewed(made(), WANTED, NOON + 91 * DAY)
    assert found.reasons == {
        Part.SERVER: "it ended on 2026-05-30 at 12:00 UTC",
        Part.ENVOY: "it ended on 2026-05-30 at 12:00 UTC",
    }


# --- two authorities -----------------------------------------------------------------------------


def test_a_new_authority_is_trusted_for_an_overlap_before_it_signs_and_the_old_one_after() -> None:
    held = made()
    old = made_authority(held)
    due = NOON + WANTED.authority * RENEWED_AT
    held = later(held, due - 10 * DAY)  # its certificates are young when the authority is due
    leaf = held[Part.SERVER][CERTIFICATE]

    held = later(held, due)
    new = made_authority(held)
    assert new != old
    assert held[Part.SERVER][AUTHORITY] == held[Part.ENVOY][AUTHORITY] == new + old
    assert held[Part.SERVER][CERTIFICATE] == leaf, "both sides have to trust it first"
    assert renewed(held, WANTED, due + WANTED.overlap * 0.9).files == {}

    held = later(held, due + WANTED.overlap)
    assert held[Part.SERVER][CERTIFICATE] != leaf
    assert is_issued_by(*(read_certificates(pem, "")[0] for pem in (held[Part.SERVER][CERTIFICATE], new)))
    assert held[Part.ENVOY][AUTHORITY] == new + old

    held = later(held, due + 2 * WANTED.overlap)
    assert held[Part.SERVER][AUTHORITY] == held[Part.ENVOY][AUTHORITY] == new
    assert renewed(held, WANTED, due + 3 * WANTED.overlap).files == {}


def test_an_authority_whose_secret_was_deleted_is_replaced_with_an_overlap_too() -> None:
    held = made()
    old = made_authority(held)
    held = later(without(held, Part.AUTHORITY), NOON + DAY)
    new = made_authority(held)
    assert held[Part.ENVOY][AUTHORITY] == new + old
    assert kept(held) is not None
    held = later(held, NOON + DAY + WANTED.overlap)
    assert is_issued_by(*(read_certificates(pem, "")[0] for pem in (held[Part.ENVOY][CERTIFICATE], new)))


def test_an_authority_that_may_not_sign_is_replaced() -> None:
    held = made()
    found = renewed({**held, Part.AUTHORITY: held[Part.SERVER]}, WANTED, NOON + DAY)
    assert found.reasons[Part.AUTHORITY] == "tls.crt may not sign other certificates (basicConstraints)"


def test_a_former_authority_that_has_ended_is_no_longer_trusted() -> None:
    held, gone = made(), make_authority(NOON - 10 * DAY, 5 * DAY)
    for part in Part:
        trusted = held[part][AUTHORITY] + certificates_pem(gone.certificate)
        held[part] = {**held[part], AUTHORITY: trusted}
    found = later(held, NOON + dt.timedelta(minutes=1))
    assert found[Part.ENVOY][AUTHORITY] == made_authority(held)


def test_no_certificate_outlives_its_authority() -> None:
    wanted = Wanted((LOOPBACK,), 10 * DAY, 24 * DAY)
    held = later(made(wanted=wanted), NOON + 14.2 * DAY, wanted)
    assert ends(held)[Part.AUTHORITY] == NOON + 24 * DAY
    assert ends(held)[Part.SERVER] == NOON + 24 * DAY


LEAF = Wanted((LOOPBACK,), 10 * DAY, 24 * DAY)


@settings(max_examples=6, deadline=None)
@given(
    passes=st.lists(st.integers(1, 40), min_size=40, max_size=40),
    delays=st.lists(st.integers(0, 10), min_size=2, max_size=2),
)
def test_whatever_either_side_has_read_lately_it_accepts_the_other(
    passes: list[int], delays: list[int]
) -> None:
    """Passes minutes to days apart; each side reads its Secret up to an hour after it changed."""
    unit = LEAF.overlap / 10
    now, held = NOON, made(NOON, LEAF)
    versions: list[tuple[dt.datetime, Held]] = [(NOON, held)]
    for number, gap in enumerate(passes):
        now += unit * gap * (1 if number % 3 else 20)
        held = later(held, now, LEAF)
        versions.append((now, held))
        for delay in delays:
            seen = [each for at, each in versions if at <= now - unit * delay] or [versions[0][1]]
            for server, client in ((held, seen[-1]), (seen[-1], held)):
                assert is_trusted(server[Part.SERVER][CERTIFICATE], client[Part.ENVOY][AUTHORITY])
                assert is_trusted(client[Part.ENVOY][CERTIFICATE], server[Part.SERVER][AUTHORITY])


def is_trusted(certificate_pem: bytes, authorities_pem: bytes) -> bool:
    (certificate,) = read_certificates(certificate_pem, "")
    return any(is_issued_by(certificate, each) for each in read_certificates(authorities_pem, ""))


# --- what is kept --------------------------------------------------------------------------------


def test_hosts_and_lifetimes_are_kept_beside_the_authority() -> None:
    wanted = Wanted(("argosy.svc", "::1"), 30 * DAY, 300 * DAY)
    assert kept(made(wanted=wanted)) == wanted


def test_without_the_authority_the_operators_certificate_shows_them() -> None:
    wanted = Wanted(("argosy.svc",), 30 * DAY, 300 * DAY)
    found = kept(without(made(wanted=wanted), Part.AUTHORITY))
    assert found is not None
    assert (found.hosts, found.leaf.days) == (wanted.hosts, 30)


@pytest.mark.parametrize(
    "settings_json", [b"", b"[]", b"{}", b'{"hosts": [], "leafSeconds": 1, "authoritySeconds": 1}']
)
def test_settings_that_cannot_be_read_are_looked_for_in_the_operators_certificate(
    settings_json: bytes,
) -> None:
    held = made()
    held[Part.AUTHORITY] = {**held[Part.AUTHORITY], SETTINGS: settings_json}
    found = kept(held)
    assert found is not None
    assert found.hosts == WANTED.hosts


def test_where_nothing_shows_them_there_are_none() -> None:
    assert kept({}) is None
    assert kept(without(without(made(), Part.AUTHORITY), Part.SERVER)) is None


def test_a_companys_own_authority_is_kept_with_its_chain() -> None:
    root, mine = make_authority(NOON, 900 * DAY), make_authority(NOON, 700 * DAY)
    chain = certificates_pem(mine.certificate, root.certificate)
    held = later({Part.AUTHORITY: {CERTIFICATE: chain, KEY: key_pem(mine)}}, NOON)
    assert held[Part.AUTHORITY][CERTIFICATE] == chain
    assert is_trusted(held[Part.SERVER][CERTIFICATE], certificates_pem(mine.certificate))
