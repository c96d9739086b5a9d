"""The fitted forms and the silicon factors that ship with the package: two files, both ways.

Owns the formats of forms.json and silicon_factors.json and finding a form. Never opens a file
(bytes come in and go out) and never fits (hack/fit_forms.py does). A file that is not what the
fit wrote is named, with what to do about it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from argosy.engine.coefficients import StepCoefficients
from argosy.errors import SpecError
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.perf.profiles.form import FittedForm, FormErrors
from argosy.perf.profiles.roofline import Factors, HeldOut, Kernels, Silicon
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Dtype

FORMS_FILE = "forms.json"
SILICON_FILE = "silicon_factors.json"
FORMAT = 1

# Calibration (s, c0, cB) is no part of a form: it belongs to whoever runs it.
_COEFFICIENTS = ("wn", "f", "q", "c1", "a0", "a1", "a2", "b0", "b1", "b2", "we", "p_expert")
_ERRORS = ("decode", "mixed", "prefill")
_REMEDY = "install Argosy's package again, or fit anew (hack/fit_forms.py)"


@dataclass(frozen=True, slots=True)
class Forms:
    """All shipped forms. `tables_sha256` is the hash of the profiles.npz that they were fitted to."""

    by_key: Mapping[ProfileKey, FittedForm]
    source: str
    tables_sha256: str

    def profile(self, key: ProfileKey) -> Profile | OutOfRange:
        """The form of this key with its error against the table as uncertainty."""
        form = self.by_key.get(key)
        if form is None:
            near = tuple(str(other) for other in self.by_key if other.model == key.model)[:6]
            message = f"no fitted form of {key}; there are {', '.join(near) or 'none of this model'}"
            return OutOfRange(OutOfRangeReason.NO_PROFILE, message, near)
        return Profile(
            key=key,
            origin=Origin.FORM,
            step_times=form.coefficients,
            valid=form.valid,
            uncertainty=form.errors.worst,
            source=self.source,
        )


def forms_document(forms: Forms) -> bytes:
    """forms.json: a head, then one profile per line."""
    valids = {form.valid for form in forms.by_key.values()}
    if len(valids) != 1:
        raise SpecError("all forms of one file have one range", FORMS_FILE)
    (valid,) = valids
    entries = [_form_entry(key, form) for key, form in forms.by_key.items()]
    head = {
        "provenance": forms.source,
        "units": "milliseconds per token, sequence or iteration; q and p_expert have none; "
        "errors (0-1): mean absolute relative error against the table on argosy.perf.profiles.form's grids; "
        "profile: GPU/model/number type/tensor parallel",
        "tablesSha256": forms.tables_sha256,
        "range": asdict(valid),
        "coefficients": list(_COEFFICIENTS),
        "errors": list(_ERRORS),
    }
    return _document(head, "profiles", entries)


def parse_forms(document: bytes) -> Forms:
    """The forms in forms.json. Raises SpecError that names the file and the fault."""
    content = _open(document, "profiles", FORMS_FILE)
    try:
        valid = ValidRange(**content["range"])
        names = content["coefficients"], content["errors"]
        forms = {_key(entry["profile"]): _form(entry, valid, names) for entry in content["profiles"]}
        return Forms(forms, content["provenance"], content["tablesSha256"])
    except (KeyError, TypeError, ValueError) as fault:
        raise SpecError(f"lacks or garbles {fault}; {_REMEDY}", FORMS_FILE) from fault


def silicon_document(silicon: Silicon, report: Mapping[Kernels, Mapping[str, Any]]) -> bytes:
    """silicon_factors.json: the factors, and what `report` adds of how they were judged."""
    entries = [
        {
            "stored": kernels.stored,
            "multiplied": kernels.multiplied,
            "latent": kernels.is_latent,
            "factors": asdict(factors),
            "heldOut": asdict(held_out),
            **report.get(kernels, {}),
        }
        for kernels, (factors, held_out) in silicon.factors.items()
    ]
    head = {
        "provenance": silicon.source,
        "units": "shares of peaks (0-1) and milliseconds; held out: mean absolute relative error on "
        "tables that the factors were not fitted to, the worse of leaving out a GPU or a model",
    }
    return _document(head, "silicon", entries)


def parse_silicon(document: bytes) -> Silicon:
    """The factors in silicon_factors.json. Raises SpecError that names the file and the fault."""
    content = _open(document, "silicon", SILICON_FILE)
    try:
        factors = {
            Kernels(Dtype(entry["stored"]), Dtype(entry["multiplied"]), entry["latent"]): (
                Factors(**entry["factors"]),
                HeldOut(**entry["heldOut"]),
            )
            for entry in content["silicon"]
        }
        return Silicon(factors, content["provenance"])
    except (KeyError, TypeError, ValueError) as fault:
        raise SpecError(f"lacks or garbles {fault}; {_REMEDY}", SILICON_FILE) from fault


def _form_entry(key: ProfileKey, form: FittedForm) -> dict[str, Any]:
    return {
        "profile": key.path,
        "coefficients": [getattr(form.coefficients, name) for name in _COEFFICIENTS],
        "errors": [round(getattr(form.errors, name), 4) for name in _ERRORS],
    }


def _key(path: str) -> ProfileKey:
    gpu, model, dtype, width = path.split("/")
    return ProfileKey(gpu, model, Dtype(dtype), Shape(int(width)))


def _form(entry: Mapping[str, Any], valid: ValidRange, names: tuple[list[str], list[str]]) -> FittedForm:
    coefficients = StepCoefficients(**dict(zip(names[0], entry["coefficients"], strict=True)))
    return FittedForm(coefficients, valid, FormErrors(**dict(zip(names[1], entry["errors"], strict=True))))


def _document(head: Mapping[str, Any], name: str, entries: list[dict[str, Any]]) -> bytes:
    head = {"format": FORMAT, **head, "sha256": _digest(entries)}
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    return f'{json.dumps(head, indent=1)[:-2]},\n "{name}": [\n{lines}\n ]\n}}\n'.encode()


def _open(document: bytes, name: str, file: str) -> dict[str, Any]:
    try:
        content = json.loads(document)
    except ValueError as fault:
        raise SpecError(f"is not JSON ({fault}); {_REMEDY}", file) from fault
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.get(name):
        raise SpecError(f"is not of format {FORMAT}; {_REMEDY}", file)
    if content.get("sha256") != _digest(content[name]):
        raise SpecError(f"is not what was fitted: its hash differs; {_REMEDY}", file)
    return content


def _digest(entries: Any) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
