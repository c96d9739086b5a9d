"""The bytes of forms.json and silicon_factors.json, as `argosy.perf.profiles.forms` reads them.

Input: what was fitted. Output: a head, then one profile or kind of kernels per line, so that a
difference is one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from argosy.errors import SpecError
from argosy.perf.profile import ProfileKey
from argosy.perf.profiles.forms import FORMAT, FORMS_FILE, FittedForm, Forms, entries_digest
from argosy.perf.profiles.roofline import Kernels, Silicon

# Calibration (s, c0, cB) is no part of a form: the library adds the host's.
COEFFICIENTS = ("wn", "f", "q", "c1", "a0", "a1", "a2", "b0", "b1", "b2", "we", "p_expert")
ERRORS = ("decode", "mixed", "prefill")


def forms_document(forms: Forms) -> bytes:
    """forms.json. Raises SpecError where forms differ in their range: the file has one."""
    valids = {form.valid for form in forms.by_key.values()}
    if len(valids) != 1:
        raise SpecError("all forms of one file have one range", FORMS_FILE)
    (valid,) = valids
    entries = [_form_entry(key, form) for key, form in forms.by_key.items()]
    head = {
        "provenance": forms.source,
        "units": "milliseconds per token, sequence or iteration; q and p_expert have none; "
        "errors (0-1): mean absolute relative error against the table on the grids of hack/closed_form.py; "
        "profile: GPU/model/number type/tensor parallel",
        "tablesSha256": forms.tables_sha256,
        "range": asdict(valid),
        "coefficients": list(COEFFICIENTS),
        "errors": list(ERRORS),
    }
    return _document(head, "profiles", entries)


def silicon_document(silicon: Silicon, report: Mapping[Kernels, Mapping[str, Any]]) -> bytes:
    """silicon_factors.json: the factors, and the errors that `report` adds to them."""
    entries = [
        {
            "stored": kernels.stored,
            "multiplied": kernels.multiplied,
            "latent": kernels.is_latent,
            "experts": kernels.has_experts,
            "gpu": kernels.gpu,
            "factors": asdict(factors),
            "heldOut": asdict(held_out),
            **report.get(kernels, {}),
        }
        for kernels, (factors, held_out) in silicon.factors.items()
    ]
    head = {
        "provenance": silicon.source,
        "units": "shares of peaks (0-1) and milliseconds; gpu: of dense models on that one, else on any; "
        "heldOut: mean absolute relative error on tables that the factors were not fitted to, the worse of "
        "leaving out a GPU (without a gpu) or a fifth of the families of models",
    }
    return _document(head, "silicon", entries)


def _form_entry(key: ProfileKey, form: FittedForm) -> dict[str, Any]:
    return {
        "profile": key.path,
        "coefficients": [getattr(form.coefficients, name) for name in COEFFICIENTS],
        "errors": [round(getattr(form.errors, name), 4) for name in ERRORS],
    }


def _document(head: Mapping[str, Any], name: str, entries: list[dict[str, Any]]) -> bytes:
    head = {"format": FORMAT, **head, "sha256": entries_digest(entries)}
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    return f'{json.dumps(head, indent=1)[:-2]},\n "{name}": [\n{lines}\n ]\n}}\n'.encode()
