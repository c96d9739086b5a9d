"""Profiles of what was not measured, made from those of what was.

Owns five changes: pipeline stages (`pipeline_profile`), a wider tensor-parallel group over a known
link (`wider_profile`), another link (`relinked_profile`), a sibling of the GPU (`scaled_profile`), and a
part of it (`part_profile`). `library` picks the profile to start from. Input: profiles, links and GPUs;
output: a `Profile`, or `OutOfRange` where the model cannot be cut that way.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np

from argosy.arrays import Floats
from argosy.engine.coefficients import StepCoefficients
from argosy.engine.step_times import StepTable, StepTimes, StepTimeSource, frozen
from argosy.errors import SpecError
from argosy.perf.catalogue import Gpu
from argosy.perf.catalogue.links import Link, all_reduce_terms, transfer_ms
from argosy.perf.profile import Origin, Profile, ProfileKey, Shape
from argosy.perf.profiles.roofline import ACTIVATION_BYTES, Silicon, impossible_shape, kernels_of, roofline
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Architecture, Dtype

PIPELINE_UNCERTAINTY = 0.10
"""Added for a pipeline. An assumption: no measurements of vLLM's pipelines are at hand."""
WIDER_UNCERTAINTY = 0.08
"""Added for a wider group: held-out error of TP 4 made from TP 1 and 2 where TP 4 is measured."""
RELINKED_UNCERTAINTY = 0.08
"""Added on another link. An assumption: as of a wider group, whose all-reduces are exchanged, too."""
SIBLING_UNCERTAINTY = 0.06
"""Added on a sibling: held-out error of tables scaled between H100 and H200 and among Blackwells."""
PART_UNCERTAINTY = 0.15
"""Added on a part of a card. An assumption: caches and clocks are not divided as memory and SMs are, and
no measurements on parts are at hand."""
SIMILAR_UNCERTAINTY = 0.08
"""Added for a similar model. Over 609 tables of dense models that no factor was fitted to, the median
error is 2.3 % of a decode step and 4.6 % of a prefill (a roofline's: 7.9 % and 10.5 %), and 14 % of a chunk
of up to 64 tokens (22 %). hack/judge_rooflines.py prints them."""
SIMILAR_SIZE = 8.0
"""Similar models differ by no more than this factor in the weights that a token passes: 5.8 was compared."""
SIBLING_FLOPS, SIBLING_BYTES = 1.35, 2.0
"""Siblings differ by no more than these factors in bfloat16 peak and in memory bandwidth."""


@dataclass(frozen=True, slots=True, eq=False)
class PipelineTimes:
    """The step times of one engine whose layers lie on `stages` groups of GPUs in a row.

    vLLM keeps as many batches in flight as there are stages. The engine here runs one step at
    a time, so a step stands for one round: every decoding sequence gets its token while its
    micro-batch of B/stages sequences passes all stages, the others close behind it. With t for
    the step time without a pipeline, one round takes

        decoding  t(B/stages, context) + transfers     per-token latency, and throughput: B a round
        a chunk   what it adds to t, undivided         a lone prompt's latency

    So ITL and a lone prompt's TTFT are those of the pipeline, and so is the throughput of
    decoding. The throughput of prefill is understated, by at most `stages`: while one chunk
    passes the second stage the next could be in the first, which one step at a time cannot
    show. A plan made of this promises no more than the pipeline keeps. Where layers do not
    divide evenly, all wait for the largest stage.
    """

    single: StepTimeSource
    stages: int
    imbalance: float
    hop_ms: float
    hop_ms_per_token: float

    def step_times(self, max_tokens: int, max_seqs: int) -> StepTimes:
        """The arrays of the equivalent engine."""
        whole = self.single.step_times(max(max_tokens, max_seqs), max_seqs)
        tokens, batch = np.arange(len(whole.matrix_ms)), np.arange(max_seqs + 1)
        share = np.maximum(batch / self.stages, 1.0)
        hops = self.hop_ms + self.hop_ms_per_token * tokens
        matrix = self.imbalance * whole.matrix_ms + hops
        decode = np.stack([np.interp(share, batch, column) for column in whole.decode_ms[batch].T], axis=1)
        # A smaller micro-batch saves matrix time as well. It is taken off attention, which must
        # stay positive and must not fall with the batch: where contexts are too short for that,
        # a round comes out longer than it is.
        saved = whole.matrix_ms[batch] - np.interp(share, tokens, whole.matrix_ms)
        decode = self.imbalance * np.maximum(decode - np.maximum(saved, 0.0)[:, None], 0.0)
        decode = np.maximum.accumulate(decode, axis=0)
        matrix[0], decode[0] = 0.0, 0.0
        return replace(
            whole,
            matrix_ms=frozen(matrix[: max_tokens + 1]),
            decode_ms=frozen(decode),
            chunk_ms=self.imbalance * whole.chunk_ms,
            chunk_ms_per_token=frozen(self.imbalance * whole.chunk_ms_per_token),
        )

    def digest(self) -> str:
        """A hash (hexadecimal) of the source without a pipeline and of what the pipeline adds."""
        added = (self.stages, self.imbalance, self.hop_ms, self.hop_ms_per_token)
        return hashlib.sha256(f"{self.single.digest()}{added!r}".encode()).hexdigest()


def pipeline_profile(
    profile: Profile, architecture: Architecture, stages: int, link: Link
) -> Profile | OutOfRange:
    """The same tensor-parallel groups, `stages` of them in a row behind `link`.

    What the step times then mean: `PipelineTimes`. A stage hands over two rows of hidden size
    per token (activations and residual), and the last one returns the sampled token.

    Raises SpecError for a profile that has a pipeline already.
    """
    shape = profile.key.shape
    if shape.pipeline_parallel != 1:
        raise SpecError(f"start from a profile without a pipeline, not from {profile.key}", "profile")
    if not 1 <= stages <= architecture.layers:
        message = f"{architecture.layers} layers cannot be divided among {stages} pipeline stages"
        return OutOfRange(OutOfRangeReason.IMPOSSIBLE_SHAPE, message)
    if stages == 1:
        return profile
    token_bytes = 2 * ACTIVATION_BYTES * architecture.hidden_size
    times = PipelineTimes(
        single=profile.step_times,
        stages=stages,
        imbalance=math.ceil(architecture.layers / stages) * stages / architecture.layers,
        hop_ms=stages * link.latency_ms,
        hop_ms_per_token=(stages - 1) * (transfer_ms(token_bytes, link) - link.latency_ms),
    )
    key = replace(profile.key, shape=Shape(shape.tensor_parallel, stages))
    source = f"{profile.source}; in {stages} pipeline stages over {link.name}"
    uncertainty = math.hypot(profile.uncertainty, PIPELINE_UNCERTAINTY)
    return replace(profile, key=key, step_times=times, uncertainty=uncertainty, source=source)


@dataclass(frozen=True, slots=True)
class MeasuredWidths:
    """Two profiles of one model on one GPU with tables, at TP k and 2k, and the link they ran on.

    Raises SpecError where they differ in more than their width.
    """

    narrow: Profile
    wide: Profile
    link: Link

    def __post_init__(self) -> None:
        narrow, wide = self.narrow.key, self.wide.key
        if replace(narrow, shape=wide.shape) != wide or narrow.shape >= wide.shape:
            raise SpecError(f"{narrow} and {wide} are not two widths of one thing", "measured")

    def tables(self) -> tuple[StepTable, StepTable]:
        """Both tables. Raises SpecError where one is no table, and where their knots differ."""
        narrow, wide = self.narrow.step_times, self.wide.step_times
        if not (isinstance(narrow, StepTable) and isinstance(wide, StepTable)):
            raise SpecError("a wider group is made from tables", "measured")
        for knots in ("token_knots", "batch_knots", "context_knots", "chunk_knots", "prefix_knots"):
            if not np.array_equal(getattr(narrow, knots), getattr(wide, knots)):
                raise SpecError(f"the tables differ in {knots}", "measured")
        return narrow, wide


def wider_profile(
    measured: MeasuredWidths, architecture: Architecture, tensor_parallel: int, link: Link
) -> Profile | OutOfRange:
    """The profile at a width that was not measured, or not measured on a sane machine.

    What the narrower tables say apart from their all-reduces is cut into a part that is divided
    among the GPUs and one that is not (two widths tell them apart), and the all-reduces of
    the wider group over `link` are added. Without those it is never slower than `wide`, and
    never faster than `wide` divided.

    Raises SpecError for profiles with a pipeline, and for a width that is not above the measured ones.
    """
    widths = (measured.narrow.key.shape, measured.wide.key.shape)
    if any(shape.pipeline_parallel != 1 for shape in widths):
        raise SpecError("start from profiles without a pipeline", "measured")
    if tensor_parallel <= widths[1].tensor_parallel:
        raise SpecError(f"must be more than {widths[1].tensor_parallel}", "tensor_parallel")
    refused = impossible_shape(architecture, tensor_parallel)
    if refused is not None:
        return refused
    cuts = (widths[0].tensor_parallel, widths[1].tensor_parallel, tensor_parallel)
    narrow, wide = measured.tables()
    tokens = wide.token_knots
    reduces = [_reduces_ms(architecture, tokens, width, measured.link) for width in cuts[:2]]
    # KV heads are divided down to one per GPU, then repeated: so is the reading of them.
    heads = architecture.kv_heads if not architecture.mla_kv_dim else architecture.attention_heads
    kv_cuts = tuple(min(width, heads) for width in cuts)
    matrix = _cut(narrow.matrix_ms - reduces[0], wide.matrix_ms - reduces[1], cuts)
    table = replace(
        wide,
        matrix_ms=matrix + _reduces_ms(architecture, tokens, tensor_parallel, link),
        decode_ms=_cut(narrow.decode_ms, wide.decode_ms, kv_cuts),
        chunk_ms_per_token=_cut(narrow.chunk_ms_per_token, wide.chunk_ms_per_token, cuts),
    )
    key = replace(measured.wide.key, shape=Shape(tensor_parallel))
    source = f"{measured.wide.source}; widened from {measured.wide.key.shape}, all-reduces over {link.name}"
    uncertainty = math.hypot(measured.wide.uncertainty, WIDER_UNCERTAINTY)
    return Profile(key, Origin.ROOFLINE, table, measured.wide.valid, uncertainty, source)


def relinked_profile(profile: Profile, architecture: Architecture, links: tuple[Link, Link]) -> Profile:
    """The table of a group over the first link, over the second: its all-reduces are exchanged.

    Unchanged where both links take as long. What an all-reduce is charged may exceed what the table has of
    it, so half of the measured time is kept at least.

    Raises SpecError for a profile that is no table.
    """
    table, width = profile.step_times, profile.key.shape.tensor_parallel
    if not isinstance(table, StepTable):
        raise SpecError(f"needs a table, got {profile.key}", "profile")
    measured, wanted = links
    if all_reduce_terms(width, measured) == all_reduce_terms(width, wanted):
        return profile
    before, after = (_reduces_ms(architecture, table.token_knots, width, link) for link in links)
    matrix = np.maximum(table.matrix_ms + after - before, table.matrix_ms / 2)
    return replace(
        profile,
        step_times=replace(table, matrix_ms=np.maximum.accumulate(matrix)),
        uncertainty=math.hypot(profile.uncertainty, RELINKED_UNCERTAINTY),
        source=f"{profile.source}; all-reduces over {wanted.name} in place of {measured.name}",
    )


def are_siblings(one: Gpu, other: Gpu) -> bool:
    """Whether a table of one says more about the other than a roofline does.

    Same number types, similar peaks, one vendor: H100 and H200, the Blackwells, the A100s.
    Measured across generations, scaled tables are no better than rooflines (0.06-0.3).
    """
    if one.vendor != other.vendor or set(one.flops) != set(other.flops):
        return False
    flops = one.flops[Dtype.BF16] / other.flops[Dtype.BF16]
    bandwidth = one.memory_bytes_per_s / other.memory_bytes_per_s
    return max(flops, 1 / flops) <= SIBLING_FLOPS and max(bandwidth, 1 / bandwidth) <= SIBLING_BYTES


def scaled_profile(
    profile: Profile, gpus: tuple[Gpu, Gpu], architecture: Architecture, silicon: Silicon
) -> Profile | OutOfRange:
    """The table of the first GPU on the second, its sibling: each part times the ratio of rooflines.

    Raises SpecError for a profile that is no table of the first GPU, and for GPUs that are no siblings.
    """
    measured, wanted = gpus
    table = profile.step_times
    if not isinstance(table, StepTable) or profile.key.gpu != measured.name:
        raise SpecError(f"needs a table of {measured.name}, got {profile.key}", "profile")
    if not are_siblings(measured, wanted):
        message = f"{wanted.name} is too unlike {measured.name} for its table to be scaled"
        return OutOfRange(OutOfRangeReason.NO_PROFILE, message)
    return _by_rooflines(table, profile, gpus, architecture, silicon)


def part_profile(
    profile: Profile, gpus: tuple[Gpu, Gpu], architecture: Architecture, silicon: Silicon
) -> Profile:
    """The table of a card on a part of it; never faster, for every peak of the part is at most the card's.

    Raises SpecError for a profile that is no table of the card.
    """
    card, part = gpus
    table = profile.step_times
    if not isinstance(table, StepTable) or profile.key.gpu != card.name or part.part_of != card.name:
        raise SpecError(f"needs a table of {part.part_of}, got {profile.key}", "profile")
    made = _by_rooflines(table, profile, gpus, architecture, silicon)
    return replace(made, uncertainty=math.hypot(profile.uncertainty, PART_UNCERTAINTY))


def _by_rooflines(
    table: StepTable, profile: Profile, gpus: tuple[Gpu, Gpu], architecture: Architecture, silicon: Silicon
) -> Profile:
    """Each part of the first GPU's table times the ratio of both GPUs' rooflines."""
    measured, wanted = gpus
    key = replace(profile.key, gpu=wanted.name)
    factors, _ = silicon.of(kernels_of(measured, architecture, key.dtype))
    here = roofline(measured, architecture, profile.key, factors)
    scaled = _times_ratio(table, here, roofline(wanted, architecture, key, factors))
    return Profile(
        key=key,
        origin=Origin.ROOFLINE,
        step_times=scaled,
        valid=profile.valid,
        uncertainty=math.hypot(profile.uncertainty, SIBLING_UNCERTAINTY),
        source=f"table of {measured.name} ({profile.source}) times the ratio of rooflines",
    )


def are_similar(one: Architecture, other: Architecture) -> bool:
    """Whether a table of one says more about the other than a roofline does: of plain dense models.

    Among mixtures of experts it does not (13 % of a decode step, and a roofline 10 %): how experts are
    read depends on their number and width.
    """
    if not all(not a.is_moe and not a.linear_layers and not a.sliding_layers for a in (one, other)):
        return False
    return max(one.active_parameters, other.active_parameters) <= SIMILAR_SIZE * min(
        one.active_parameters, other.active_parameters
    )


def similar_model_profile(
    profile: Profile,
    key: ProfileKey,
    gpu: Gpu,
    models: tuple[Architecture, Architecture],
    silicon: Silicon,
) -> Profile:
    """The first model's table on this GPU as that of the second, under `key`: each part times the ratio of
    both models' rooflines. Never decreasing: where a ratio falls with more work, the larger time holds.

    Raises SpecError for a profile that is no table.
    """
    table = profile.step_times
    if not isinstance(table, StepTable):
        raise SpecError(f"needs a table, got {profile.key}", "profile")
    lines = []
    for model, at in zip(models, (profile.key, key), strict=True):
        factors, _ = silicon.of(kernels_of(gpu, model, at.dtype))
        lines.append(roofline(gpu, model, at, factors))
    scaled = _times_ratio(table, lines[0], lines[1])
    attention = scaled.chunk_ms_per_token * table.chunk_knots[:, None]
    rising = np.maximum.accumulate(np.maximum.accumulate(attention, axis=0), axis=1)
    decode = np.maximum.accumulate(np.maximum.accumulate(scaled.decode_ms, axis=0), axis=1)
    scaled = replace(
        scaled,
        matrix_ms=np.maximum.accumulate(scaled.matrix_ms),
        decode_ms=decode,
        chunk_ms_per_token=rising / table.chunk_knots[:, None],
        chunk_ms=table.chunk_ms * lines[1].b0 / lines[0].b0,
    )
    return Profile(
        key=key,
        origin=Origin.ROOFLINE,
        step_times=scaled,
        valid=replace(profile.valid, max_context=min(profile.valid.max_context, models[1].max_context)),
        uncertainty=math.hypot(profile.uncertainty, SIMILAR_UNCERTAINTY),
        source=f"table of {profile.key.model} ({profile.source}) times the ratio of both models' rooflines",
    )


def _times_ratio(table: StepTable, here: StepCoefficients, there: StepCoefficients) -> StepTable:
    of_here, of_there = _parts(here, table), _parts(there, table)
    scaled = {name: getattr(table, name) * of_there[name] / of_here[name] for name in of_here}
    return replace(table, **scaled)


def _parts(c: StepCoefficients, table: StepTable) -> dict[str, Floats]:
    """The parts of a closed form on the knots of a table."""
    tokens = int(table.token_knots[-1])
    batch, chunk = table.batch_knots[:, None], table.chunk_knots[:, None]
    return {
        "matrix_ms": c.step_times(tokens, 1).matrix_ms[table.token_knots.astype(np.intp)],
        "decode_ms": c.a0 + batch * (c.a2 + c.decode_ms_per_sequence(table.context_knots)),
        "chunk_ms_per_token": c.chunk_ms_per_token(chunk, table.prefix_knots),
    }


def _cut(narrow: Floats, wide: Floats, widths: tuple[int, ...]) -> Floats:
    """What is left at the third width of a time that was measured at the first two."""
    one, two, wanted = widths
    least, most = wide * two / wanted, wide
    if one == two:
        return np.asarray(most)
    divided = np.maximum(narrow - wide, 0.0) / (1 / one - 1 / two)
    return np.clip(wide - divided * (1 / two - 1 / wanted), least, most)


def _reduces_ms(model: Architecture, tokens: Floats, width: int, link: Link) -> Floats:
    """Two all-reduces per layer of an iteration's activations."""
    latency_ms, ms_per_byte = all_reduce_terms(width, link)
    token_bytes = ACTIVATION_BYTES * model.hidden_size
    return 2 * model.layers * (latency_ms + ms_per_byte * token_bytes * tokens)
