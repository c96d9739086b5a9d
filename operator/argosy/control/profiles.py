"""What users measured of their models: from the files that ServedModels name to profiles.

Owns the step from `spec.profiles` to what the performance model takes, and the refusal of each
file that cannot be used. Never fetches a file (the snapshot holds what was found) and never
stops a model: what has no usable profile of its own gets the shipped one. Input: a snapshot and
one of its ServedModels. Output: `ModelProfiles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from argosy.api import ServedModel
from argosy.api.conditions import Reason
from argosy.control.refusal import Refusal
from argosy.perf.catalogue import find_model
from argosy.perf.measurements import ProfileFault, profile_from_bytes
from argosy.perf.profile import Profile, ProfileKey
from argosy.perf.protocol import OutOfRange
from argosy.snapshot.fleet import FleetSnapshot, ProfileFileKey


@dataclass(frozen=True, slots=True)
class ModelProfiles:
    """A ServedModel's own profiles, one per GPU, number type and shape; and why others are not used."""

    profiles: tuple[Profile, ...]
    refusals: tuple[Refusal, ...]


def files_named(model: ServedModel) -> tuple[ProfileFileKey, ...]:
    """The files of `spec.profiles`, in the order in which they are named."""
    namespace = model.metadata.namespace or ""
    return tuple(ProfileFileKey(namespace, named.config_map, named.key) for named in model.spec.profiles)


def model_profiles(snapshot: FleetSnapshot, model: ServedModel) -> ModelProfiles:
    """The profiles of one model. Of two about the same thing, the one that is named first counts."""
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
    return ModelProfiles(tuple(profiles.values()), tuple(refusals))


def _profile(
    snapshot: FleetSnapshot, model: ServedModel, file: ProfileFileKey, field: str
) -> Profile | Refusal:
    problem = snapshot.unread_profiles.get(file)
    if problem is not None:
        message = Reason.PROFILE_UNREAD.sentence(field=field, config_map=file.config_map, problem=problem)
        return Refusal(Reason.PROFILE_UNREAD, field, message)
    content = snapshot.profile_files.get(file)
    if content is None:
        message = Reason.PROFILE_NOT_FOUND.sentence(field=field, key=file.key, config_map=file.config_map)
        return Refusal(Reason.PROFILE_NOT_FOUND, field, message)
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
    one_line = " ".join(problem.split())
    message = Reason.PROFILE_UNUSABLE.sentence(field=field, problem=one_line)
    return Refusal(Reason.PROFILE_UNUSABLE, field, message)
