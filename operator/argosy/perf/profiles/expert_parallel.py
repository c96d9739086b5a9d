"""Whole experts on ranks of their own, in place of a slice of every expert on each (expert parallelism).

Owns what `--enable-expert-parallel` adds to the steps of a tensor-parallel group of a mixture of experts.
Every rank has all tokens, as attention stays tensor parallel: nothing is dispatched; the all-reduce is the
same. But all ranks wait for the one whose experts have most to read or to compute. Input: a profile without
it. Output: a profile with it. Data-parallel ranks, which dispatch tokens, are refused by their flags.

Which experts tokens choose is taken to be even. Of E experts with k a token, an expert is read with
probability 1 - (1 - k/E)^n in a step of n tokens, so a rank reads a binomial number of its E/R, and computes
about nk/R choices with that variance; what is added is the expected largest of R less the mean.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr

from argosy.arrays import Floats
from argosy.engine.step_times import StepTimes, StepTimeSource, frozen
from argosy.perf.catalogue import Gpu
from argosy.perf.footprint.weights import BYTES_PER_PARAMETER
from argosy.perf.profile import Profile
from argosy.perf.profiles.roofline import Silicon, kernels_of, weights_of
from argosy.snapshot.architecture import Architecture, Dtype

EXPERT_PARALLEL_UNCERTAINTY = 0.1
"""Added with expert parallelism. An assumption: real tokens prefer some experts, and no table has it."""
_MOST_KNOTS = 64


@dataclass(frozen=True, slots=True)
class ExpertCost:
    """Milliseconds of one routed expert in all layers together: to read it, and to compute one choice."""

    read_ms: float
    choice_ms: float


@dataclass(frozen=True, slots=True)
class ExpertRanks:
    """Experts of a layer, how many a token takes, and the ranks that they are divided among."""

    experts: int
    per_token: int
    ranks: int

    def read_beyond_mean(self, num_tokens: npt.ArrayLike) -> Floats:
        """Distinct experts that the fullest rank reads more than the mean one; shape (sizes,)."""
        tokens = np.atleast_1d(np.asarray(num_tokens, dtype=np.float64))
        chosen = 1.0 - (1.0 - self.per_token / self.experts) ** tokens
        own = math.ceil(self.experts / self.ranks)
        at_most = bdtr(np.arange(own, dtype=np.float64)[:, None], own, chosen[None, :])
        largest = own - (at_most**self.ranks).sum(axis=0)
        found: Floats = np.maximum(largest - self.experts / self.ranks * chosen, 0.0)
        return found

    def choices_beyond_mean(self, num_tokens: npt.ArrayLike) -> Floats:
        """Choices of experts that the fullest rank computes more than the mean one (taken to be normal)."""
        tokens = np.asarray(num_tokens, dtype=np.float64)
        found: Floats = _largest_normal(self.ranks) * np.sqrt(tokens * self.per_token / self.ranks)
        return found


@dataclass(frozen=True, slots=True)
class ExpertParallelTimes:
    """Step times with whole experts on ranks of their own (a `StepTimeSource`)."""

    plain: StepTimeSource
    ranks: ExpertRanks
    cost: ExpertCost

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The plain arrays; iterations take longer by what the fullest rank has beyond the mean one."""
        plain = self.plain.step_times(max_tokens, max_seqs)
        knots = np.unique(np.geomspace(1, max(max_tokens, 2), _MOST_KNOTS).round())
        # A rank reads while it computes: what limits a step of few tokens is not what limits one of many.
        read = self.cost.read_ms * self.ranks.read_beyond_mean(knots)
        computed = self.cost.choice_ms * self.ranks.choices_beyond_mean(knots)
        added = np.interp(np.arange(1, max_tokens + 1), knots, np.maximum(read, computed))
        matrix = np.array(plain.matrix_ms[: max_tokens + 1])
        matrix[1:] = np.maximum.accumulate(matrix[1:] + added / plain.s)
        return replace(plain, matrix_ms=frozen(matrix))

    def digest(self) -> str:
        """A hash of the plain source and of all that the added time depends on."""
        content = f"{self.plain.digest()} {self.ranks!r} {self.cost!r}"
        return hashlib.sha256(content.encode()).hexdigest()


def expert_parallel_profile(
    profile: Profile, architecture: Architecture, gpu: Gpu, silicon: Silicon
) -> Profile:
    """The same group with its routed experts whole on ranks; unchanged without experts, and on one GPU."""
    ranks = profile.key.shape.tensor_parallel
    if not architecture.is_moe or ranks == 1 or not gpu.has_peaks:
        return profile
    times = ExpertParallelTimes(
        profile.step_times,
        ExpertRanks(architecture.experts, architecture.experts_per_token, ranks),
        expert_cost(gpu, architecture, profile.key.dtype, silicon),
    )
    return replace(
        profile,
        step_times=times,
        uncertainty=math.hypot(profile.uncertainty, EXPERT_PARALLEL_UNCERTAINTY),
        source=f"{profile.source}; experts on {ranks} ranks: imbalance computed, not given by the table",
    )


def expert_cost(gpu: Gpu, architecture: Architecture, dtype: Dtype, silicon: Silicon) -> ExpertCost:
    """Of one expert, by the roofline and the factors that tables were found to need."""
    kernels = kernels_of(gpu, architecture, dtype)
    factors, _ = silicon.of(kernels)
    parameters = weights_of(architecture).experts / architecture.experts
    read = factors.expert_memory * gpu.memory_bytes_per_s / 1e3
    computed = factors.expert_flops * gpu.flops[kernels.multiplied] / 1e3
    return ExpertCost(parameters * BYTES_PER_PARAMETER[dtype] / read, 2 * parameters / computed)


def _largest_normal(ranks: int) -> float:
    """The expected largest of so many standard normal numbers."""
    at, step = np.linspace(-9.0, 9.0, 3601, retstep=True)
    below = ndtr(at) ** ranks
    return float(((at > 0) - below).sum() * step)
