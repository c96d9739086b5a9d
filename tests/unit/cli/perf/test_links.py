"""`argosy perf links`: output of nccl-tests in, the block of a GPUPool out."""

from __future__ import annotations

from pathlib import Path

import yaml
from builders import a_pool
from collective_tables import a_table
from perf_command import asked, ran, refused


def written(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_the_block_can_be_pasted_into_a_pool(tmp_path: Path) -> None:
    four = written(tmp_path, "four.txt", a_table(4, latency_us=13.0, bus_gb_per_s=3.9))
    two = written(tmp_path, "two.txt", a_table(2, latency_us=5.5, bus_gb_per_s=19.0))
    found = ran("perf", "links", four, two)
    assert found.code == 0
    spec = yaml.safe_load(found.stdout)["spec"]
    pool = a_pool(gpusPerNode=4, **spec)
    assert pool.spec.interconnect is not None
    figures = [
        (f.gpus, f.latency_microseconds, f.bus_gb_per_second) for f in pool.spec.interconnect.all_reduce
    ]
    assert figures == [(2, 5.5, 19.0), (4, 13.0, 3.9)]
    assert "4 GPUs: 15 sizes fitted, median 0% and at most 0% off" in found.stderr
    document = asked("links", four, two)
    assert document["spec"] == spec
    assert [fit["sizes"] for fit in document["fits"]] == [15, 15]


def test_what_cannot_be_used_is_refused_with_file_and_line(tmp_path: Path) -> None:
    broken = written(tmp_path, "broken.txt", a_table(4) + "1073741824 268435456 float\n")
    error = refused("links", broken)
    assert error["message"].startswith(f"{broken}: line ")
    assert error["reason"] == "MalformedTable"
    four = written(tmp_path, "four.txt", a_table(4))
    again = written(tmp_path, "again.txt", a_table(4))
    assert "has 4 GPUs, as" in refused("links", four, again)["message"]
    assert "cannot be read" in refused("links", str(tmp_path / "absent.txt"))["message"]
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    assert "cannot be read as text" in refused("links", str(binary))["message"]
