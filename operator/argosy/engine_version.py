"""Which version of vLLM an engine is, from what its image, a user or the engine itself says.

Owns the reading of version strings and the order of the three. Input: a tag, a field, an answer to
`/version`. Output: a `Version` of the standard library of Python packaging, or None where the text does
not tell: `latest`, a digest, a nightly build's commit, a build without tags (0.1.dev1).

Decisions compare `release` (0.15.1rc2 schedules as 0.15.1 does), so a pre-release counts as its release.
"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

PATTERN = r"^[0-9]{1,4}(\.[0-9]{1,5}){1,3}((a|b|rc)[0-9]{1,3})?(\.post[0-9]{1,3})?$"
"""What `spec.engine.version` takes: releases and pre-releases, as vLLM's own tags name them."""

LONGEST = 32
"""Characters of `spec.engine.version`."""

OLDEST = Version("0.2")
"""Below, it is the number of a build without tags (setuptools_scm: 0.1.dev1), not of a release."""

NEWEST = Version("0.32.0")
"""The newest that is known here: what an engine of unknown version is taken for."""

_MOST = 64
"""Characters of a text that may be a version."""


def version_of(text: str) -> Version | None:
    """The version that a text states; None where it states none.

    `v0.11.2-cu126` is 0.11.2; what an engine reports, `0.11.2.dev278+gdbc3d99`, is between 0.11.1 and 0.11.2
    and taken for the latter.
    """
    # After a hyphen, tags name CUDA, processor or a build of one's own: the same version.
    plain = text.removeprefix("v").partition("-")[0]
    if len(plain) > _MOST or "." not in plain:
        # A lone number is a build's or a date (`nightly`, 20260101), which would be newer than all.
        return None
    try:
        found = Version(plain)
    except InvalidVersion:
        return None
    return found if found.epoch == 0 and found.release >= OLDEST.release else None


def version_of_image(image: str) -> Version | None:
    """The version that the tag of a vLLM image names; None where it names none.

    Only where the image's name holds `vllm`: another image's tag is that image's own version.
    """
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return version_of(tag) if "vllm" in name.lower() else None


def engine_version(image: str, stated: str | None = None) -> Version | None:
    """The version of an engine: what its user states, else what the image's tag names."""
    return version_of_image(image) if stated is None else version_of(stated)


def contradicts(image: str, stated: str | None) -> Version | None:
    """The version that the tag names where it is another one than stated; None where nothing differs."""
    named = version_of_image(image)
    if named is None or stated is None:
        return None
    return named if named != version_of(stated) else None


def assumed(version: Version | None) -> Version:
    """The version itself, or the newest known."""
    return NEWEST if version is None else version


def in_words(version: Version | None) -> str:
    """For a profile's source: the version, or what is assumed in its place."""
    return f"vLLM {NEWEST} (assumed: version not known)" if version is None else f"vLLM {version}"
