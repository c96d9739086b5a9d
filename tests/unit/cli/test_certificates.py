"""`argosy certificates`: into folders, again and again, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kubeconfigs import UNREACHABLE
from perf_command import Ran, ran

FILES = {part: {"tls.crt", "tls.key", "ca.crt"} for part in ("ca", "server", "envoy")}
FILES["ca"] |= {"settings.json"}


def certificates(*flags: str) -> Ran:
    return ran("certificates", *flags)


def test_the_first_run_makes_everything_and_the_next_changes_nothing(tmp_path: Path) -> None:
    first = certificates("--directory", str(tmp_path), "--host", "argosy.argosy-system.svc")
    assert (first.code, first.stderr) == (0, "")
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["certificate", "ca", "server", "envoy"]
    assert first.stdout.count("there was none") == 3
    found = {part: {each.name for each in (tmp_path / part).iterdir()} for part in FILES}
    assert {part: {n for n in names if not n.startswith("..")} for part, names in found.items()} == FILES
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    again = certificates("--directory", str(tmp_path))
    assert (again.code, again.stderr) == (0, "")
    assert "there was none" not in again.stdout
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == contents


def test_as_json_each_certificate_has_its_end_and_why_it_is_new(tmp_path: Path) -> None:
    flags = ("--directory", str(tmp_path), "--json")
    certificates(*flags, "--host", "10.0.0.7", "--leaf-days", "30")
    found = certificates(*flags, "--host", "10.0.0.8")
    rows = {row["part"]: row for row in json.loads(found.stdout)["certificates"]}
    assert {part: row["renewed_because"] for part, row in rows.items()} == {
        "ca": None,
        "server": "it was for 10.0.0.7, and 10.0.0.8 is needed",
        "envoy": None,
    }
    assert rows["server"]["ends"] < rows["ca"]["ends"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            (),
            "--host: there are no certificates yet that show for which host they are: give that of the"
            " Envoys' --ads, such as argosy.argosy-system.svc",
        ),
        (
            ("--host", "argosy:18000"),
            "--host: 'argosy:18000' is no DNS name in lower case and no IP address, such as"
            " argosy.argosy-system.svc (without a port)",
        ),
        (
            ("--host", "argosy", "--leaf-days", "400"),
            "--authority-days: 730 days are too few for certificates of 400 days: an authority needs at least"
            " twice their lifetime, 800",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, flags: tuple[str, ...], sentence: str) -> None:
    found = certificates("--directory", str(tmp_path / "new"), *flags)
    assert (found.code, found.stdout, found.stderr) == (2, "", f"argosy certificates: {sentence}\n")
    assert not (tmp_path / "new").exists()


def test_an_api_server_that_is_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(UNREACHABLE)
    found = certificates("--kubeconfig", str(tmp_path / "kubeconfig"), "--host", "argosy")
    assert (found.code, found.stdout) == (3, "")
    assert "the API server does not answer" in found.stderr
