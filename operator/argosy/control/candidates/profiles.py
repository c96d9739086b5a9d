"""What users measured of their models: from the files that ServedModels name to profiles.

Owns the step from `spec.profiles` to what the performance model takes, the refusal of each file
that cannot be used, and remarks on those that can. The snapshot holds the files. A refused file stops
no model: where no profile of its own can be used, the shipped one is. A profile that is far from
Argosy's own figures is used, because users know their engines, and reported, because it moves a
fleet. Input: a snapshot and one of its ServedModels. Output: `ModelProfiles`, and `ProfileNote`s.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache

from argosy.api import ServedModel
from argosy.api.conditions import Reason
from argosy.control.candidates.refusal import Refusal
from argosy.perf.catalogue import find_model
from argosy.perf.library import WantedProfile
from argosy.perf.measurements import ProfileFault, far_off, profile_from_bytes
from argosy.perf.model import wanted_profile
from argosy.perf.profile import Profile, ProfileKey
from argosy.perf.protocol import OutOfRange, PerfModel
from argosy.snapshot import Variant
from argosy.snapshot.fleet import FleetSnapshot, ProfileFileKey


@dataclass(frozen=True, slots=True)
class ModelProfiles:
    """A ServedModel's own profiles, one per GPU, number type and shape; and why others are not used.

    fields: where each of `profiles` is named (`spec.profiles[0]`)
    """

    profiles: tuple[Profile, ...]
    refusals: tuple[Refusal, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProfileNote:
    """A remark on a profile that can be used. `field` is where it is named."""

    reason: Reason
    field: str
    message: str


def files_named(model: ServedModel) -> tuple[ProfileFileKey, ...]:
    """The files of `spec.profiles`, in the order in which they are named."""
    namespace = model.metadata.namespace or ""
    return tuple(ProfileFileKey(namespace, named.config_map, named.key) for named in model.spec.profiles)


def model_profiles(snapshot: FleetSnapshot, model: ServedModel) -> ModelProfiles:
    """The profiles of one model. Of two with one key, the one that is named first is used."""
    profiles: dict[ProfileKey, Profile] = {}
    field_by_key: dict[ProfileKey, str] = {}
    refusals: list[Refusal] = []
    for index, file in enumerate(files_named(model)):
        field = f"spec.profiles[{index}]"
        found = _profile(snapshot, model, file, field)
        if isinstance(found, Profile) and found.key in profiles:
            found = _unusable(field, f"it is about {found.key}, as {field_by_key[found.key]} is already")
        if isinstance(found, Refusal):
            refusals.append(found)
        else:
            profiles[found.key] = found
            field_by_key[found.key] = field
    return ModelProfiles(tuple(profiles.values()), tuple(refusals), tuple(field_by_key.values()))


def profile_notes(
    own: ModelProfiles, variants: Sequence[Variant], perf: PerfModel
) -> tuple[ProfileNote, ...]:
    """What to say of profiles that can be used: those far from Argosy's own figures, then the idle ones.

    variants: all of the model's, in the pools that there are
    perf:     Argosy's own figures, without the profiles of any user
    """
    asked = [
        (variant, found)
        for variant in variants
        if isinstance(found := wanted_profile(variant), WantedProfile)
    ]
    if not own.profiles or (variants and not asked):
        return ()  # An unknown model or GPU is reported by the condition Accepted.
    variant_by_key = _answering({profile.key for profile in own.profiles}, asked)
    names = ", ".join(dict.fromkeys(f"{found.dtype} on {found.gpu.name} {found.shape}" for _, found in asked))
    far: list[ProfileNote] = []
    idle: list[ProfileNote] = []
    for field, profile in zip(own.fields, own.profiles, strict=True):
        variant = variant_by_key.get(profile.key)
        if variant is None:
            idle.append(_unused(field, profile.key, names))
        elif (note := _implausible(field, profile, perf.prior(variant))) is not None:
            far.append(note)
    return (*far, *idle)


def _answering(
    mine: Set[ProfileKey], asked: Sequence[tuple[Variant, WantedProfile]]
) -> dict[ProfileKey, Variant]:
    """A variant that each profile answers for, with as many stages as the profile has."""
    found: dict[ProfileKey, Variant] = {}
    for variant, wanted in asked:
        key = next((key for key in wanted.own_keys if key in mine), None)
        if key is not None:
            found[key] = replace(variant, pipeline_parallel=key.shape.pipeline_parallel)
    return found


def _implausible(field: str, profile: Profile, known: Profile | OutOfRange) -> ProfileNote | None:
    """None where it is near Argosy's own figures, or where there are none to compare it with."""
    how = None if isinstance(known, OutOfRange) else far_off(profile, known)
    if how is None:
        return None
    reason = Reason.PROFILE_IMPLAUSIBLE
    return ProfileNote(reason, field, reason.sentence(field=field, profile=profile.key, how=how))


def _unused(field: str, key: ProfileKey, variants: str) -> ProfileNote:
    reason = Reason.PROFILE_UNUSED
    message = reason.sentence(field=field, profile=key, variants=variants or "none, as there is no GPUPool")
    return ProfileNote(reason, field, message)


def _profile(
    snapshot: FleetSnapshot, model: ServedModel, file: ProfileFileKey, field: str
) -> Profile | Refusal:
    problem = snapshot.unread_profiles.get(file)
    if problem is not None:
        return Refusal.of(Reason.PROFILE_UNREAD, field=field, config_map=file.config_map, problem=problem)
    content = snapshot.profile_files.get(file)
    if content is None:
        return Refusal.of(Reason.PROFILE_NOT_FOUND, field=field, key=file.key, config_map=file.config_map)
    read = _read(content, f"{file.config_map}/{file.key}")
    if isinstance(read, ProfileFault):
        return _unusable(field, read.message)
    model_id, measured = model.spec.model_id, read.profile.key.model
    if measured != _catalogue_key(model_id):
        return _unusable(field, f"it is a profile of {measured}, and spec.modelId is {model_id}")
    return read.profile


# A file is read in some milliseconds and stays as it is for weeks, while a decision is made every
# few seconds. A pure function of its arguments, and a fleet has tens of such files.
_read = lru_cache(maxsize=256)(profile_from_bytes)


def _catalogue_key(model_id: str) -> str:
    """As profiles name a model: the catalogue's key, or the id of a model that it does not know."""
    found = find_model(model_id)
    return model_id if isinstance(found, OutOfRange) else found.key


def _unusable(field: str, problem: str) -> Refusal:
    return Refusal.of(Reason.PROFILE_UNUSABLE, field=field, problem=" ".join(problem.split()))
