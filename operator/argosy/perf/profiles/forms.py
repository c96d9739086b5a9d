"""The fitted forms and the silicon factors that ship with the package, read from their bytes.

Owns the formats of forms.json and silicon_factors.json, and finding a form. hack/closed_form.py and
hack/fit_silicon.py fit them, hack/forms_files.py writes them. A file that differs from what was
written is named, with what to do about it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argosy.engine.coefficients import StepCoefficients
from argosy.errors import SpecError
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape, ValidRange
from argosy.perf.profiles.roofline import HeldOut, Kernels, Silicon, SiliconFactors
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Dtype

FORMS_FILE = "forms.json"
SILICON_FILE = "silicon_factors.json"
FORMAT = 1

_REMEDY = "install Argosy's package again, or fit anew (hack/fit_forms.py)"


@dataclass(frozen=True, slots=True)
class FormErrors:
    """Mean absolute relative errors (0-1) on the fit's grids of iterations: decoding, mixed and prefill."""

    decode: float
    mixed: float
    prefill: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.decode, self.mixed, self.prefill)


@dataclass(frozen=True, slots=True)
class FittedForm:
    """The closed form of one table, where it holds, and how far it is off there."""

    coefficients: StepCoefficients
    valid: ValidRange
    errors: FormErrors


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


def parse_silicon(document: bytes) -> Silicon:
    """The factors in silicon_factors.json. Raises SpecError that names the file and the fault."""
    content = _open(document, "silicon", SILICON_FILE)
    try:
        factors = {
            _kernels(entry): (SiliconFactors(**entry["factors"]), HeldOut(**entry["heldOut"]))
            for entry in content["silicon"]
        }
        return Silicon(factors, content["provenance"])
    except (KeyError, TypeError, ValueError) as fault:
        raise SpecError(f"lacks or garbles {fault}; {_REMEDY}", SILICON_FILE) from fault


def _kernels(entry: Mapping[str, Any]) -> Kernels:
    stored, multiplied = Dtype(entry["stored"]), Dtype(entry["multiplied"])
    return Kernels(stored, multiplied, entry["latent"], entry["experts"], entry["gpu"])


def _key(path: str) -> ProfileKey:
    gpu, model, dtype, width = path.split("/")
    return ProfileKey(gpu, model, Dtype(dtype), Shape(int(width)))


def _form(entry: Mapping[str, Any], valid: ValidRange, names: tuple[list[str], list[str]]) -> FittedForm:
    coefficients = StepCoefficients(**dict(zip(names[0], entry["coefficients"], strict=True)))
    return FittedForm(coefficients, valid, FormErrors(**dict(zip(names[1], entry["errors"], strict=True))))


def _open(document: bytes, name: str, file: str) -> dict[str, Any]:
    try:
        content = json.loads(document)
    except ValueError as fault:
        raise SpecError(f"is not JSON ({fault}); {_REMEDY}", file) from fault
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.get(name):
        raise SpecError(f"is not of format {FORMAT}; {_REMEDY}", file)
    if content.get("sha256") != entries_digest(content[name]):
        raise SpecError(f"is not what was fitted: its hash differs; {_REMEDY}", file)
    return content


def entries_digest(entries: Any) -> str:
    """The hash (hexadecimal) in a file's head, over its entries as JSON."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
