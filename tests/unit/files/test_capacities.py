"""The file of measured capacities: whole, or as if there were none."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.files.capacities import read_capacities, write_capacities


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "state" / "capacities.json"
    write_capacities(file, {"a": 1.5})
    assert read_capacities(file) == {"a": 1.5}
    assert [each.name for each in file.parent.iterdir()] == ["capacities.json"]


def test_capacities_that_cannot_be_written_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    nowhere = tmp_path / "state"
    write_capacities(nowhere / "capacities.json", {"a": 1.5})
    assert read_capacities(nowhere / "capacities.json") == {}
    assert [str(nowhere) in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("damaged", ["", '{"a": 1', "[1]", "\udcff", "[" * 100_000])
def test_a_damaged_file_counts_as_empty(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "capacities.json"
    file.write_bytes(damaged.encode("utf-8", "surrogateescape"))
    assert read_capacities(file) == {}
