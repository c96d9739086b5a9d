"""Which version of vLLM an image, a field or an engine's own answer states."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from argosy.api.engine.vllm_flags import flag_table
from argosy.engine_version import (
    LONGEST,
    NEWEST,
    PATTERN,
    assumed,
    contradicts,
    engine_version,
    in_words,
    version_of,
    version_of_image,
)
from argosy.keys import ModelKey
from argosy.snapshot.variant import EngineSettings, Variant

DIGEST = "@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.15.1", "0.15.1"),
        ("vllm/vllm-openai:v0.11.2-cu126", "0.11.2"),
        ("vllm/vllm-openai:v0.30.1-cu129-ubuntu2404", "0.30.1"),
        ("vllm/vllm-openai:v0.9.0.1", "0.9.0.1"),
        ("registry.example.com:5000/team/vllm:0.15.1rc2", "0.15.1rc2"),
        ("acme/my-vllm:0.25.3-acme1", "0.25.3"),
        (f"vllm/vllm-openai:v0.27.0{DIGEST}", "0.27.0"),
        (f"vllm/vllm-openai{DIGEST}", None),
        ("vllm/vllm-openai", None),
        ("vllm/vllm-openai:", None),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai:nightly", None),
        ("vllm/vllm-openai:nightly-5b8c30d62b754b57", None),
        ("vllm/vllm-openai:5b8c30d62b754b57", None),
        ("vllm/vllm-openai:20260101", None),
        ("vllm/vllm-openai:dev", None),
        ("registry.example.com:5000/vllm", None),
        ("registry.example.com/my-engine:0.25.3", None),
    ],
)
def test_the_tag_of_a_vllm_image_names_its_version(image: str, version: str | None) -> None:
    assert version_of_image(image) == (None if version is None else Version(version))


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ("0.15.1", "0.15.1"),
        ("0.11.2.dev278+gdbc3d9991", "0.11.2.dev278+gdbc3d9991"),
        ("0.1.dev1+g0123456", None),
        ("dev", None),
        ("", None),
        ("1!0.15.1", None),
        ("0." + "1" * 70, None),
    ],
)
def test_what_an_engine_reports_is_read(answer: str, version: str | None) -> None:
    assert version_of(answer) == (None if version is None else Version(version))


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading(text: str) -> None:
    for found in (version_of(text), version_of_image(f"vllm:{text}")):
        assert found is None or found.release >= (0, 2)


@given(st.from_regex(re.compile(PATTERN, re.ASCII), fullmatch=True).filter(lambda text: len(text) <= LONGEST))
def test_what_the_field_takes_is_a_version_or_too_old_for_one(text: str) -> None:
    plain = text.rstrip("\n")
    assert version_of(plain) == Version(plain) or Version(plain).release < (0, 2)


def test_a_stated_version_is_used_before_the_tags_and_a_contradiction_is_found() -> None:
    image = "vllm/vllm-openai:v0.11.2"
    assert engine_version(image) == Version("0.11.2")
    assert engine_version(image, "0.15.1") == Version("0.15.1")
    assert contradicts(image, "0.15.1") == Version("0.11.2")
    assert contradicts(image, "0.11.2") is None
    assert contradicts(image, None) is None
    assert contradicts("vllm/vllm-openai:latest", "0.15.1") is None


def test_an_unknown_version_is_taken_for_the_newest_and_named_as_assumed() -> None:
    assert assumed(None) == NEWEST
    assert assumed(Version("0.9.2")) == Version("0.9.2")
    assert in_words(None) == f"vLLM {NEWEST} (assumed: version not known)"
    assert in_words(Version("0.15.1")) == "vLLM 0.15.1"
    # The flags' table is written from the newest sources: raise NEWEST with it.
    assert flag_table().versions[-1] == f"{NEWEST.major}.{NEWEST.minor}"


def test_a_variants_version_changes_neither_its_name_nor_its_engine() -> None:
    settings = EngineSettings(image="vllm/vllm-openai:latest")
    variant = Variant(ModelKey("default/m"), "m", (), "l40s", "L40S", 1, settings)
    stated = replace(variant, engine=replace(settings, version="0.12.0"))
    assert variant.engine_version is None
    assert stated.engine_version == Version("0.12.0")
    assert stated.name == variant.name
    assert stated != variant
