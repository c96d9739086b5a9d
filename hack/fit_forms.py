"""Fit closed forms and silicon factors to the shipped tables.

Run from the repository's root: `PYTHONPATH=operator:hack python hack/fit_forms.py`. Reads
profiles.npz and profiles.json in operator/argosy/perf/data and writes forms.json and
silicon_factors.json beside them. No chance, no date: the same tables give the same bytes.
`--only H100/llama-3.1-8b/bf16/1` fits the forms that match, prints them and writes nothing.
Both take about twenty minutes of one core.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from closed_form import fit_form
from fit_silicon import Case, fit_silicon, sibling_errors, wider_errors
from forms_files import forms_document, silicon_document

from argosy.engine.step_times import StepTable
from argosy.perf.catalogue import find_gpu, find_model
from argosy.perf.profile import ProfileKey, ValidRange
from argosy.perf.profiles.forms import FORMS_FILE, SILICON_FILE, FittedForm, Forms
from argosy.perf.profiles.tables import ARRAYS_FILE, MANIFEST_FILE, ProfileTables, parse_profiles
from argosy.perf.protocol import OutOfRange

Found = TypeVar("Found")

DATA = Path(__file__).parent.parent / "operator" / "argosy" / "perf" / "data"
# As far as the forms are judged; a table reaches further, with knots ever further apart.
VALID = ValidRange(max_tokens=16_384, max_batch=256, max_context=16_384)


def cases(tables: ProfileTables) -> tuple[Case, ...]:
    """Every table with its GPU and its model, in the order of the file."""
    return tuple(_case(tables, key) for key in tables.keys())  # noqa: SIM118 - not a mapping


def _case(tables: ProfileTables, key: ProfileKey) -> Case:
    gpu, model = _known(find_gpu(key.gpu)), _known(find_model(key.model))
    # The checkpoint of this number type where there is one: it says what is quantised.
    of_type = (c.architecture for c in model.checkpoints if c.architecture.dtype is key.dtype)
    kv_dtype = _known(tables.provenance(key)).kv_dtype
    architecture = replace(next(of_type, model.architecture), kv_dtype=kv_dtype)
    return Case(_known(tables.profile(key)), gpu, architecture)


def _known(answer: Found | OutOfRange) -> Found:
    if isinstance(answer, OutOfRange):
        raise SystemExit(answer.message)
    return answer


def fitted(case: Case) -> FittedForm:
    """The form of one table."""
    table = case.profile.step_times
    assert isinstance(table, StepTable)
    model = case.architecture
    share = model.experts_per_token / model.experts if model.is_moe else 0.0
    return fit_form(table, VALID, share)


def forms_of(every: Iterable[Case], tables_sha256: str) -> Forms:
    """All forms, printing each one's errors."""
    by_key: dict[ProfileKey, FittedForm] = {}
    for case in every:
        form = by_key[case.profile.key] = fitted(case)
        errors = f"{form.errors.decode:.2%} {form.errors.mixed:.2%} {form.errors.prefill:.2%}"
        print(f"{case.profile.key}: decode, mixed, prefill {errors}", flush=True)
    source = f"closed form fitted by hack/fit_forms.py to the measured tables ({ARRAYS_FILE})"
    return Forms(by_key, source, tables_sha256)


def print_medians(forms: Forms) -> None:
    """The figures that the project promises, and the worst."""
    rows = [(form.errors.decode, form.errors.mixed, form.errors.prefill) for form in forms.by_key.values()]
    errors = np.array(rows)
    for name, row in (("median", np.median(errors, axis=0)), ("largest", errors.max(axis=0))):
        print(f"{len(errors)} forms, {name}: decode {row[0]:.2%}, mixed {row[1]:.2%}, prefill {row[2]:.2%}")


def main() -> None:
    """Fit and write, or print what `--only` asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="GPU/model/dtype/TP, or its beginning: print, do not write")
    parser.add_argument("--silicon", action="store_true", help="fit the silicon factors alone")
    arguments = parser.parse_args()
    arrays = (DATA / ARRAYS_FILE).read_bytes()
    every = cases(parse_profiles((DATA / MANIFEST_FILE).read_bytes(), arrays))
    if arguments.only:
        every = tuple(case for case in every if case.profile.key.path.startswith(arguments.only))
        if not every:
            raise SystemExit(f"no table begins with {arguments.only}")
    if not arguments.silicon:
        forms = forms_of(every, hashlib.sha256(arrays).hexdigest())
        print_medians(forms)
        if arguments.only:
            return
        (DATA / FORMS_FILE).write_bytes(forms_document(forms))
    silicon, report = fit_silicon(every)
    if not arguments.only:
        (DATA / SILICON_FILE).write_bytes(silicon_document(silicon, report))
    for name, row in {**wider_errors(every), **sibling_errors(every, silicon)}.items():
        print(f"{name}: median decode {row[0]:.2%}, mixed {row[1]:.2%}, prefill {row[2]:.2%}")


if __name__ == "__main__":
    main()
