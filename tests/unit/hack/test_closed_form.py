"""The closed form is fitted to tables and judged against them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from closed_form import evaluate_form, fit_form
from perf_engines import table_of

import argosy.perf
from argosy.engine.coefficients import StepCoefficients
from argosy.engine.step_times import StepTable, step_ms
from argosy.perf.profile import Profile, ProfileKey, Shape, ValidRange
from argosy.perf.profiles.forms import Forms, parse_forms
from argosy.perf.profiles.tables import parse_profiles
from argosy.snapshot.architecture import Dtype

DATA = Path(argosy.perf.__file__).parent / "data"
VALID = ValidRange(max_tokens=8192, max_batch=256, max_context=16_384)
DENSE = StepCoefficients(
    wn=6.0, f=0.0146, q=3.0, c1=0.005, a0=0.1, a1=4e-5, a2=0.0025, b0=0.11, b1=0.0005, b2=7.8e-7
)
KEY = ProfileKey("H100", "llama-3.1-8b", Dtype.BF16, Shape(1))


@pytest.mark.parametrize(
    ("truth", "expert_share"),
    [
        pytest.param(DENSE, 0.0, id="a dense model"),
        pytest.param(
            replace(DENSE, wn=3.0, we=16.0, p_expert=0.05), 0.0625, id="an MoE that reaches experts"
        ),
    ],
)
def test_a_table_made_of_a_form_is_found_again(truth: StepCoefficients, expert_share: float) -> None:
    found = fit_form(table_of(truth), VALID, expert_share)

    # Not the coefficients (several say nearly the same), but what they say.
    assert found.errors.worst < 0.01


def test_a_dense_form_cannot_pass_for_a_mixture_of_experts() -> None:
    table = table_of(replace(DENSE, wn=3.0, we=16.0, p_expert=0.05))

    dense, experts = fit_form(table, VALID), fit_form(table, VALID, 0.0625)

    assert dense.errors.decode > 10 * experts.errors.decode


def test_calibration_is_taken_over_and_not_fitted() -> None:
    bare = fit_form(table_of(DENSE), VALID)
    calibrated = fit_form(replace(table_of(DENSE), s=0.98, c0=1.34, cb=0.046), VALID)

    assert replace(bare.coefficients, s=0.98, c0=1.34, cb=0.046) == calibrated.coefficients
    assert bare.errors == calibrated.errors


def test_the_error_is_that_of_the_form_and_not_of_its_rounding() -> None:
    table = table_of(DENSE)

    assert evaluate_form(replace(DENSE, s=1.1), table, VALID).worst == pytest.approx(0.1, abs=0.005)


@pytest.fixture(scope="module")
def shipped() -> tuple[Forms, dict[ProfileKey, StepTable]]:
    tables = parse_profiles((DATA / "profiles.json").read_bytes(), (DATA / "profiles.npz").read_bytes())
    found = {}
    for key in tables.keys():  # noqa: SIM118 - not a mapping
        profile = tables.profile(key)
        assert isinstance(profile, Profile)
        assert isinstance(profile.step_times, StepTable)
        found[key] = profile.step_times
    return parse_forms((DATA / "forms.json").read_bytes()), found


def test_the_shipped_forms_are_those_of_the_shipped_tables(
    shipped: tuple[Forms, dict[ProfileKey, StepTable]],
) -> None:
    forms, tables = shipped

    assert forms.tables_sha256 == hashlib.sha256((DATA / "profiles.npz").read_bytes()).hexdigest()
    assert list(forms.by_key) == list(tables)


def test_the_shipped_errors_are_true(shipped: tuple[Forms, dict[ProfileKey, StepTable]]) -> None:
    forms, tables = shipped
    for key in list(tables)[::40]:
        form = forms.by_key[key]
        again = evaluate_form(form.coefficients, tables[key], form.valid)
        assert asdict(again) == pytest.approx(asdict(form.errors), abs=1e-4)


def test_a_shipped_form_is_what_the_fit_makes_of_its_table(
    shipped: tuple[Forms, dict[ProfileKey, StepTable]],
) -> None:
    forms, tables = shipped
    key = ProfileKey("H100", "llama-3.1-8b", Dtype.BF16, Shape(1))

    again = fit_form(tables[key], forms.by_key[key].valid)

    # Another build of scipy's linear algebra may differ in the last digits, not in what it says.
    assert asdict(again.errors) == pytest.approx(asdict(forms.by_key[key].errors), abs=5e-4)
    batch = np.array([1, 32, 256])
    assert step_ms(again.coefficients, batch, batch * 1024) == pytest.approx(
        step_ms(forms.by_key[key].coefficients, batch, batch * 1024), rel=2e-3
    )
