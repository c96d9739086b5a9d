"""How far rooflines are off tables of models that their factors were not fitted to.

    PYTHONPATH=operator:hack python hack/judge_rooflines.py

Prints, per GPU and kind of model, the bias (median of estimate over table, less one) and the median
distance of decode, prefill and short chunks, for two ways to a profile: the roofline, and the table of the
most similar other model on this GPU times the ratio of both rooflines. Every table is judged once, with
factors and teachers of other families of models (`fit_silicon.folds`). Takes some minutes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from closed_form import SHORT_GRID
from fit_forms import DATA, cases
from fit_silicon import Case, folds, kind_factors

from argosy.arrays import Floats
from argosy.perf.profile import Profile
from argosy.perf.profiles.forms import SILICON_FILE, parse_silicon
from argosy.perf.profiles.iterations import DECODE_GRID, PREFILL_GRID, Iterations
from argosy.perf.profiles.reshape import similar_model_profile
from argosy.perf.profiles.roofline import Silicon, roofline_profile
from argosy.perf.profiles.tables import ARRAYS_FILE, MANIFEST_FILE, parse_profiles

GRIDS = {"decode": DECODE_GRID, "prefill": PREFILL_GRID, "short chunk": SHORT_GRID}


def estimates(case: Case, teachers: list[Case], silicon: Silicon) -> Iterator[tuple[str, Profile]]:
    """Both ways to this table's profile, without looking at it."""
    computed = roofline_profile(case.gpu, case.architecture, case.profile.key, silicon)
    if isinstance(computed, Profile):
        yield "roofline", computed
    if not teachers:
        return
    nearest = min(teachers, key=lambda each: unlikeness(each, case))
    models = nearest.architecture, case.architecture
    yield (
        "similar model",
        similar_model_profile(nearest.profile, case.profile.key, case.gpu, models, silicon),
    )


def unlikeness(one: Case, other: Case) -> tuple[bool, float]:
    """Kind first, then how far the weights that a token passes differ."""
    sizes = one.architecture.active_parameters / other.architecture.active_parameters
    return one.architecture.is_moe != other.architecture.is_moe, abs(math.log(sizes))


def off(made: Profile, case: Case, grid: Iterations) -> Floats:
    """Estimate over table, less one, at the iterations."""
    return np.asarray(grid.step_ms(made.step_times) / grid.step_ms(case.profile.step_times) - 1.0)


def main() -> None:
    """Print one line per GPU, kind and way."""
    every = cases(parse_profiles((DATA / MANIFEST_FILE).read_bytes(), (DATA / ARRAYS_FILE).read_bytes()))
    start = kind_factors(parse_silicon((DATA / SILICON_FILE).read_bytes()))
    rows = defaultdict(list)
    for fold in folds(every, start):
        taught = defaultdict(list)
        for case in fold.taught:
            key = case.profile.key
            taught[key.gpu, key.dtype, key.shape].append(case)
        for case in fold.left_out:
            key = case.profile.key
            kind = "experts" if case.architecture.is_moe else "dense"
            for way, made in estimates(case, taught[key.gpu, key.dtype, key.shape], fold.silicon):
                for name, grid in GRIDS.items():
                    for where in (key.gpu, "all"):
                        rows[kind, where, way, name].append(off(made, case, grid))
    for kind, where, way in sorted({(kind, where, way) for kind, where, way, _ in rows}):
        found = [np.concatenate(rows[kind, where, way, name]) for name in GRIDS]
        figures = [f"{np.median(one):+.1%} {np.median(np.abs(one)):.1%}" for one in found]
        print(f"{kind:8} {where:13} {way:14} {len(rows[kind, where, way, 'decode']):4}", *figures, sep="  ")


if __name__ == "__main__":
    main()
