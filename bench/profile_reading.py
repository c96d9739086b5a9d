"""How long the shipped profiles take to read and check, beside their bare arrays.

    python bench/profile_reading.py

Every command and every operator reads them once. The reference is numpy's own reading of the same
arrays: seconds differ between machines, the ratio hardly does.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from importlib.resources import files

import numpy as np

from argosy.perf.profiles.tables import parse_profiles

RUNS = 9


def seconds(work: Callable[[], object]) -> float:
    """The median of some runs."""
    found = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main() -> None:
    """Print both and their ratio, which profile_reading.bounds.yaml bounds."""
    data = files("argosy.perf").joinpath("data")
    manifest, arrays = (data.joinpath(name).read_bytes() for name in ("profiles.json", "profiles.npz"))

    def bare() -> None:
        with np.load(io.BytesIO(arrays)) as found:
            for name in found.files:
                found[name]

    reference_s, whole_s = seconds(bare), seconds(lambda: parse_profiles(manifest, arrays))
    print(f"bare arrays {1e3 * reference_s:.0f} ms, profiles {1e3 * whole_s:.0f} ms")
    print(f"reading and checking the profiles: {whole_s / reference_s:.1f} x the bare arrays")
    print(json.dumps({"figures": {"reading_and_checking": whole_s / reference_s}}))


if __name__ == "__main__":
    main()
