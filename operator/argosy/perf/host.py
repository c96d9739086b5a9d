"""What the host adds to an engine's iterations, by the version of vLLM and how it schedules.

Owns the two overheads, which of them a variant has, and the step times with it. Input: a variant, or a
version with the arguments of its engine. Output: a `HostOverhead` and `EngineLimits.batches_in_flight`.

Until vLLM 0.13 the GPU waits while the host schedules, samples and prepares the next batch: all of it
is added to an iteration. From 0.14 on the host does this while the GPU computes, so it counts only where
it takes longer than the GPU; what cannot be done beside the GPU remains. `engine.in_flight` has the rules of
versions and flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.version import Version

from argosy.api.engine.arguments import switch, value_of
from argosy.engine.host import HostBeside
from argosy.engine.in_flight import NotAsynchronous, SchedulingSettings, batches_in_flight
from argosy.engine.step_times import StepTimeSource
from argosy.engine_version import assumed, in_words
from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.snapshot.variant import Variant

_ASYNC, _METHOD = "--async-scheduling", "--spec-method"


@dataclass(frozen=True, slots=True)
class HostOverhead:
    """The host's part of an iteration.

    exposed: a factor on the GPU's time (s), and milliseconds that are added to every iteration (c0) and for
             each decoding sequence (cB)
    beside_ms, beside_ms_per_sequence: the host's work while the GPU computes, per iteration and per
             decoding sequence: it counts where it takes longer than the GPU
    """

    exposed: Calibration
    beside_ms: float = 0.0
    beside_ms_per_sequence: float = 0.0

    @property
    def is_overlapped(self) -> bool:
        """Whether the host works while the GPU computes."""
        return self.beside_ms > 0 or self.beside_ms_per_sequence > 0

    def applied_to(self, silicon: StepTimeSource, seen: Calibration | None = None) -> StepTimeSource:
        """Step times with the host; `seen`: what running engines were seen to need in place of `exposed`."""
        exposed = (seen or self.exposed).applied_to(silicon)
        if not self.is_overlapped:
            return exposed
        return HostBeside(exposed, self.beside_ms, self.beside_ms_per_sequence)


SYNCHRONOUS = HostOverhead(HOST_OVERHEAD)
"""The GPU waits for the host: vLLM before 0.14."""

OVERLAPPED = HostOverhead(
    Calibration(s=HOST_OVERHEAD.s, c0=0.60, cb=0.0),
    beside_ms=HOST_OVERHEAD.c0,
    beside_ms_per_sequence=HOST_OVERHEAD.cb,
)
"""The host works beside the GPU: vLLM 0.14 and later. c0 is fitted on the calibration half of the measured
runs (`hack/fit_host.py`), where what is added no longer grows with the batch. The work is the same as before;
no measured run shows it take longer than the GPU, so those two are taken from `HOST_OVERHEAD`."""


@dataclass(frozen=True, slots=True)
class Host:
    """How one engine's host works.

    batches_in_flight: as `EngineLimits` has it
    words: for a profile's source
    """

    overhead: HostOverhead
    batches_in_flight: int
    words: str


def host_of(variant: Variant) -> Host:
    """Of an engine of this variant."""
    version, args = variant.engine_version, variant.engine.args
    return host_of_version(version, args, variant.pipeline_parallel)


def host_of_version(version: Version | None, args: Sequence[str] = (), stages: int = 1) -> Host:
    """Of an engine of this version (None: not known, taken for the newest) with these arguments."""
    asked = SchedulingSettings(
        release=assumed(version).release,
        speculative_method=value_of(args, _METHOD) or None,
        pipeline_size=stages,
        async_scheduling=switch(args, _ASYNC),
    )
    found = batches_in_flight(asked)
    # A vLLM that refuses to start serves nothing: what it would take does not matter.
    in_flight = 1 if isinstance(found, NotAsynchronous) else found.of_engine
    overlapped = in_flight > 1
    how = "overlapped with the GPU" if overlapped else "before the GPU"
    overhead = OVERLAPPED if overlapped else SYNCHRONOUS
    return Host(overhead, in_flight, f"host of {in_words(version)}, {how}")
