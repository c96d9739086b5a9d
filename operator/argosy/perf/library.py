"""Which profile answers for a variant: the most trusted that there is.

Owns the order of preference and the steps from a source's silicon time to what an engine takes:
host overhead, pipeline stages, the KV cache's number type. The order, for one stage of a replica:

1. a user's own measurements of this model, GPU, number type and shape;
2. the shipped table of a model with the same dimensions (`profiles.fingerprint`), its own name first;
3. such tables of narrower tensor-parallel groups on the same GPU, widened (L40S beyond two GPUs);
4. such a table of a sibling GPU, scaled;
5. the table of a similar dense model on the same GPU, scaled;
6. the roofline times the factors that silicon was measured to need.

A part of a card takes its card's, slowed down as far as its roofline is below the card's.

Host overhead is added to all but the first, which contains it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from argosy.engine.step_times import StepTable
from argosy.perf.catalogue import Gpu, Model, find_gpu, gpus, models
from argosy.perf.catalogue.links import gpu_links
from argosy.perf.front_end import front_end_of
from argosy.perf.host import Host, host_of_version
from argosy.perf.profile import Calibration, Origin, Profile, ProfileKey, Shape
from argosy.perf.profiles.expert_parallel import expert_parallel_profile
from argosy.perf.profiles.fingerprint import Fingerprint, same_dimensions_profile
from argosy.perf.profiles.kv_dtype import KvTypes, with_kv_dtype
from argosy.perf.profiles.reshape import (
    MeasuredWidths,
    are_siblings,
    are_similar,
    part_profile,
    pipeline_profile,
    relinked_profile,
    scaled_profile,
    similar_model_profile,
    wider_profile,
)
from argosy.perf.profiles.roofline import Silicon, impossible_shape, roofline_profile
from argosy.perf.profiles.tables import ProfileTables
from argosy.perf.protocol import OutOfRange, OutOfRangeReason
from argosy.snapshot.architecture import Architecture, Dtype

TABLES_OFF, TABLES_OFF_EXPERTS = 0.16, 0.35
"""A roofline's error is known against tables only; so much are those off at worst (`validation`)."""

DECLARED_UNCERTAINTY = 1.5
"""Of a roofline of a GPU that a user declares. An assumption: nothing that was compared is like it."""


@dataclass(frozen=True, slots=True)
class WantedProfile:
    """What is asked for. `model` is the catalogue's key, or the id of a model it does not know.

    is_expert_parallel: whether ranks hold whole experts (`--enable-expert-parallel`)
    """

    gpu: Gpu
    model: str
    architecture: Architecture
    dtype: Dtype
    kv_dtype: Dtype
    shape: Shape
    is_expert_parallel: bool = False
    host: Host = field(default_factory=lambda: host_of_version(None))

    @property
    def is_declared(self) -> bool:
        """Whether its user declares the GPU: no data sheet was read and no driver compared."""
        return not self.gpu.products

    @property
    def key(self) -> ProfileKey:
        """The key of its profile."""
        return ProfileKey(self.gpu.name, self.model, self.dtype, self.shape)

    @property
    def stage(self) -> WantedProfile:
        """One of its pipeline stages: what a replica without stages would be."""
        return replace(self, shape=Shape(self.shape.tensor_parallel))

    @property
    def own_keys(self) -> tuple[ProfileKey, ProfileKey]:
        """Keys under which a user's profile matches, in order of preference."""
        return self.key, self.stage.key


class ProfileLibrary:
    """All profiles that there are, and all that can be made of them."""

    def __init__(
        self,
        tables: ProfileTables,
        silicon: Silicon,
        users: Iterable[Profile] = (),
        calibrations: Mapping[ProfileKey, Calibration] | None = None,
    ) -> None:
        self._tables = tables
        self._silicon = silicon
        self._users = {profile.key: profile for profile in users}
        self._calibrations = calibrations or {}

    def with_users(self, users: Iterable[Profile]) -> ProfileLibrary:
        """A library in which these profiles win over the shipped ones."""
        return ProfileLibrary(self._tables, self._silicon, users, self._calibrations)

    def with_calibrations(self, calibrations: Mapping[ProfileKey, Calibration]) -> ProfileLibrary:
        """A library that knows what engines of these shapes were seen to need (`recalibration`)."""
        return ProfileLibrary(self._tables, self._silicon, self._users.values(), calibrations)

    def keys(self) -> Iterator[ProfileKey]:
        """What was measured: by users, then the shipped tables."""
        yield from self._users
        tabulated = self._tables.keys()
        yield from (key for key in tabulated if key not in self._users)

    def measured(self, key: ProfileKey) -> Profile | OutOfRange:
        """The user's profile or the table, as they are: no overhead, nothing derived."""
        return self._users.get(key) or self._tables.profile(key)

    def find(self, wanted: WantedProfile) -> Profile | OutOfRange:
        """The profile that an engine takes, host overhead included; the reason where there is none."""
        own = self._users.get(wanted.key)
        if own is not None:
            return self._with_host(own, wanted)
        stage = wanted.stage
        refused = impossible_shape(wanted.architecture, stage.shape.tensor_parallel)
        if refused is not None:
            return refused
        own_stage = self._users.get(stage.key)
        silicon = self._silicon_profile(stage) if own_stage is None else (own_stage, wanted.kv_dtype)
        if isinstance(silicon, OutOfRange):
            return silicon
        source, kv_measured = silicon
        stages, link = wanted.shape.pipeline_parallel, gpu_links(wanted.gpu).of_group(wanted.shape.gpus)
        hosted = self._with_host(source, wanted)
        if wanted.is_expert_parallel and hosted.origin is not Origin.USER:
            hosted = expert_parallel_profile(hosted, wanted.architecture, wanted.gpu, self._silicon)
        pipelined = pipeline_profile(hosted, wanted.architecture, stages, link)
        if isinstance(pipelined, OutOfRange):
            return pipelined
        card = wanted.gpu.part_of or wanted.gpu.name
        typed = with_kv_dtype(pipelined.step_times, card, KvTypes(kv_measured, wanted.kv_dtype))
        return replace(pipelined, key=wanted.key, step_times=typed)

    def _silicon_profile(self, wanted: WantedProfile) -> tuple[Profile, Dtype] | OutOfRange:
        """The best source without host overhead, for one stage, and the KV type that it was made for."""
        found = self._table(wanted)
        if found is not None:
            return found
        if not wanted.gpu.has_peaks:
            return _without_peaks(wanted)
        if wanted.gpu.part_of:
            return self._of_part(wanted)
        return self._derived(wanted)

    def _of_part(self, wanted: WantedProfile) -> tuple[Profile, Dtype] | OutOfRange:
        """A part of a card: the card's profile, slowed down as the rooflines of both differ."""
        card = find_gpu(wanted.gpu.part_of)
        if isinstance(card, OutOfRange):
            return self._derived(wanted)
        silicon = self._silicon_profile(replace(wanted, gpu=card))
        if isinstance(silicon, OutOfRange) or not isinstance(silicon[0].step_times, StepTable):
            return self._derived(wanted)
        source, kv_measured = silicon
        return part_profile(source, (card, wanted.gpu), wanted.architecture, self._silicon), kv_measured

    def _derived(self, wanted: WantedProfile) -> tuple[Profile, Dtype] | OutOfRange:
        """From tables of other shapes or GPUs, else by arithmetic."""
        made = self._widened(wanted) or self._scaled(wanted) or self._similar(wanted)
        if made is not None:
            return made
        architecture = replace(wanted.architecture, kv_dtype=wanted.kv_dtype)
        computed = roofline_profile(wanted.gpu, architecture, wanted.key, self._silicon)
        if isinstance(computed, OutOfRange):
            return computed
        of_tables = TABLES_OFF_EXPERTS if architecture.is_moe else TABLES_OFF
        uncertainty = math.hypot(computed.uncertainty, of_tables)
        uncertainty *= DECLARED_UNCERTAINTY if wanted.is_declared else 1.0
        return replace(computed, uncertainty=uncertainty), wanted.kv_dtype

    def _table(self, wanted: WantedProfile) -> tuple[Profile, Dtype] | None:
        """The table of a model with these dimensions, and its KV type; the name alone decides nothing."""
        for model in self.same_dimensions(wanted.architecture, wanted.model):
            key = replace(wanted.key, model=model.key)
            found = self._tables.profile(key) if key in self._tables else None
            if isinstance(found, Profile):
                asked = wanted.model, wanted.architecture
                made = same_dimensions_profile(found, model, asked, wanted.gpu, self._silicon)
                return _over_own_link(made, wanted.architecture, wanted.gpu), self.kv_measured(key)
        return None

    def same_dimensions(self, architecture: Architecture, name: str = "") -> tuple[Model, ...]:
        """Models with tables whose tables are this one's: of that name first, then by vocabulary."""
        alike = self._by_fingerprint.get(Fingerprint.of(architecture), ())

        def distance(model: Model) -> tuple[bool, int, str]:
            more = abs(model.architecture.vocabulary - architecture.vocabulary)
            return model.key != name, more, model.key

        return tuple(sorted(alike, key=distance))

    @cached_property
    def _by_fingerprint(self) -> Mapping[Fingerprint, tuple[Model, ...]]:
        tabulated = {key.model for key in self._tables.keys()}  # noqa: SIM118 - not a mapping
        found: dict[Fingerprint, tuple[Model, ...]] = {}
        for model in models():
            if model.key in tabulated:
                fingerprint = Fingerprint.of(model.architecture)
                found[fingerprint] = (*found.get(fingerprint, ()), model)
        return found

    def _widened(self, wanted: WantedProfile) -> tuple[Profile, Dtype] | None:
        """From the two widest measured groups below the one that is wanted."""
        width = wanted.shape.tensor_parallel
        tables = (self._table(replace(wanted, shape=Shape(tp))) for tp in _powers_below(width))
        known = [table for table in tables if table is not None]
        if len(known) < 2:
            return None
        (narrow, _), (wide, kv_dtype) = known[-2:]
        links = gpu_links(wanted.gpu)
        measured = MeasuredWidths(narrow, wide, links.of_group(wide.key.shape.gpus))
        made = wider_profile(measured, wanted.architecture, width, links.of_group(width))
        return (made, kv_dtype) if isinstance(made, Profile) else None

    def _scaled(self, wanted: WantedProfile) -> tuple[Profile, Dtype] | None:
        """From a sibling's table."""
        if wanted.gpu.part_of or wanted.is_declared:
            return None
        for sibling in gpus():
            if sibling.name == wanted.gpu.name or not are_siblings(sibling, wanted.gpu):
                continue
            found = self._table(replace(wanted, gpu=sibling))
            if found is not None:
                table, kv_dtype = found
                made = scaled_profile(table, (sibling, wanted.gpu), wanted.architecture, self._silicon)
                return (made, kv_dtype) if isinstance(made, Profile) else None
        return None

    def _similar(self, wanted: WantedProfile) -> tuple[Profile, Dtype] | None:
        """From the table of the dense model on this GPU whose size is nearest."""
        asked = wanted.architecture
        near = [
            model
            for model in models()
            if replace(wanted.key, model=model.key) in self._tables and are_similar(model.architecture, asked)
        ]
        if not near:
            return None
        size = math.log(asked.active_parameters)
        model = min(near, key=lambda each: abs(math.log(each.architecture.active_parameters) - size))
        key = replace(wanted.key, model=model.key)
        table, kv_dtype = self._tables.profile(key), self.kv_measured(key)
        if isinstance(table, OutOfRange):
            return None
        table = _over_own_link(table, model.architecture, wanted.gpu)
        pair = replace(model.architecture, kv_dtype=kv_dtype), replace(asked, kv_dtype=kv_dtype)
        return similar_model_profile(table, wanted.key, wanted.gpu, pair, self._silicon), kv_dtype

    def _with_host(self, profile: Profile, wanted: WantedProfile) -> Profile:
        """With the overhead that the engine was seen to have, else its version's."""
        seen, host = self._calibrations.get(wanted.key), wanted.host
        if profile.origin is Origin.USER:
            own = profile.step_times
            return profile if seen is None else replace(profile, step_times=seen.applied_to(own))
        times = host.overhead.applied_to(profile.step_times, seen)
        front = front_end_of(wanted.gpu.part_of or wanted.gpu.name)
        source = f"{profile.source}; {host.words}; front end {front.milliseconds:g} ms, {front.source}"
        return replace(profile, step_times=times, source=source, front_end_ms=front.milliseconds)

    def kv_measured(self, table: ProfileKey) -> Dtype:
        """The number type of the KV cache that a shipped table's kernels read."""
        provenance = self._tables.provenance(table)
        return Dtype.BF16 if isinstance(provenance, OutOfRange) else provenance.kv_dtype


def _over_own_link(table: Profile, architecture: Architecture, gpu: Gpu) -> Profile:
    """A table was measured over the link that the catalogue knows; the GPU's pool may have another."""
    measured, width = find_gpu(table.key.gpu), table.key.shape.tensor_parallel
    if width == 1 or isinstance(measured, OutOfRange):
        return table
    links = gpu_links(measured).of_group(width), gpu_links(gpu).of_group(width)
    return relinked_profile(table, architecture, links)


def _without_peaks(wanted: WantedProfile) -> OutOfRange:
    """Nothing can be computed of a GPU of which only the memory is declared."""
    message = (
        f"of the GPU {wanted.gpu.name} spec.gpuSpec declares no memoryBandwidthGbPerSecond and tflops, so"
        f" only a measured profile can answer, and there is none of {wanted.key}; declare both, or measure it"
        " (argosy perf import) and name the profile in spec.profiles of the ServedModel"
    )
    return OutOfRange(OutOfRangeReason.NO_PROFILE, message)


def _powers_below(width: int) -> Iterator[int]:
    power = 1
    while power < width:
        yield power
        power *= 2
