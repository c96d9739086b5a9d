"""The data files that ship with the package.

Owns the reads of package data; everything else in `perf` takes bytes. A missing file is named
with what to do about it, as a damaged one is by its parser.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from argosy.errors import SpecError
from argosy.perf.library import ProfileLibrary
from argosy.perf.profiles.forms import FORMS_FILE, SILICON_FILE, Forms, parse_forms, parse_silicon
from argosy.perf.profiles.tables import ARRAYS_FILE, MANIFEST_FILE, parse_profiles

MEASUREMENTS_FILE = "measurements.csv"


@cache
def shipped_library() -> ProfileLibrary:
    """All shipped tables, and what is needed to make others of them."""
    tables = parse_profiles(_read(MANIFEST_FILE), _read(ARRAYS_FILE))
    return ProfileLibrary(tables, parse_silicon(_read(SILICON_FILE)))


def shipped_forms() -> Forms:
    """The closed forms of all tables (written by hack/fit_forms.py)."""
    return parse_forms(_read(FORMS_FILE))


def shipped_measurements() -> bytes:
    """Measured vLLM runs (written by hack/export_measurements.py)."""
    return _read(MEASUREMENTS_FILE)


def _read(name: str) -> bytes:
    try:
        return files("argosy.perf").joinpath("data", name).read_bytes()
    except OSError as error:
        raise SpecError(f"{name} is missing: install Argosy's package again") from error
