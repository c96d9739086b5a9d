"""The step-time table that ships with the package.

Owns the one read of package data; everything else in `perf` takes bytes.
"""

from __future__ import annotations

from importlib.resources import files


def shipped_tables() -> bytes:
    """The bytes of step_times.json (written by hack/fit_step_times.py)."""
    return files("argosy.perf").joinpath("step_times.json").read_bytes()
