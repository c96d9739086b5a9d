"""Step-time profiles from the shipped table.

Owns reading the table's bytes and finding the profile of a (GPU, model, TP). Never opens a
file (bytes come in; `shipped` has the package's own) and never guesses for a pair that is not
tabulated.

The table holds two things apart, and they stay apart here: the silicon's step time (ten
coefficients, fitted to figures that know no host) and the host's overhead on top,
s*silicon + c0 + cB*B. The figures printed beside a profile are the silicon's; an engine takes
the sum of both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from argosy.engine.coefficients import StepCoefficients
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu, ModelFacts
from argosy.perf.protocol import OutOfRange, OutOfRangeReason


@dataclass(frozen=True, slots=True)
class Profile:
    """One (GPU, model, TP) of the table; `silicon` is without host overhead.

    decode_figures:  (batch, context, milliseconds) that the fit was made to
    prefill_figures: (prompt tokens, milliseconds); empty where prefill is a roofline estimate
    """

    gpu: str
    model: str
    tensor_parallel: int
    silicon: StepCoefficients
    decode_figures: tuple[tuple[int, int, float], ...]
    prefill_figures: tuple[tuple[int, float], ...]

    @property
    def name(self) -> str:
        """As a user would say it."""
        return f"{self.model} on {self.gpu} TP{self.tensor_parallel}"


@dataclass(frozen=True, slots=True)
class StepTable:
    """All profiles and the host's overhead (s, c0 in ms, cB in ms per decoding sequence)."""

    profiles: tuple[Profile, ...]
    s: float
    c0: float
    cb: float

    def profile(self, gpu: Gpu, model: ModelFacts, tensor_parallel: int) -> Profile | OutOfRange:
        """The profile, or which ones there are for this model or GPU."""
        for profile in self.profiles:
            if (profile.gpu, profile.model, profile.tensor_parallel) == (
                gpu.name,
                model.key,
                tensor_parallel,
            ):
                return profile
        wanted = f"{model.key} on {gpu.name} TP{tensor_parallel}"
        # The same model elsewhere helps more than another model on the same GPU.
        related = [p.name for p in self.profiles if p.model == model.key]
        related += [p.name for p in self.profiles if p.gpu == gpu.name and p.model != model.key]
        return OutOfRange(
            OutOfRangeReason.NO_PROFILE,
            f"no step times for {wanted}; there are {', '.join(related) or 'none near it'}",
            tuple(related),
        )

    def coefficients(self, profile: Profile) -> StepCoefficients:
        """What an engine takes: the silicon's step time with the host's overhead on top."""
        return replace(profile.silicon, s=self.s, c0=self.c0, cb=self.cb)


def parse_tables(tables: bytes) -> StepTable:
    """The table in `tables` (JSON). Raises SpecError with the fault's place where it is none."""
    try:
        document = json.loads(tables)
        host = document["hostOverhead"]
        profiles = tuple(_profile(entry) for entry in document["profiles"])
        return StepTable(profiles, s=host["s"], c0=host["c0"], cb=host["cb"])
    except (ValueError, KeyError, TypeError) as fault:
        raise SpecError(f"not a table of step times: {type(fault).__name__} {fault}") from fault


def _profile(entry: dict[str, Any]) -> Profile:
    return Profile(
        gpu=entry["gpu"],
        model=entry["model"],
        tensor_parallel=entry["tensorParallel"],
        silicon=StepCoefficients(**entry["coefficients"]),
        decode_figures=_rows(entry["decodeFigures"], ("batch", "context", "milliseconds")),
        prefill_figures=_rows(entry["prefillFigures"], ("tokens", "milliseconds")),
    )


def _rows(entries: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(tuple(entry[column] for column in columns) for entry in entries)
