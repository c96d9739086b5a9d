"""What the host adds to an iteration, by vLLM's version and its arguments; and the front end."""

from __future__ import annotations

import pytest
from packaging.version import Version

from argosy.engine import HostBeside, StepCoefficients
from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf.catalogue import gpus
from argosy.perf.front_end import ELSEWHERE_MS, FITTED_MS, front_end_of
from argosy.perf.host import OVERLAPPED, SYNCHRONOUS, HostOverhead, host_of, host_of_version
from argosy.perf.profile import HOST_OVERHEAD, Calibration
from argosy.snapshot.variant import EngineSettings, Variant

SILICON = StepCoefficients(5.0, 0.0, 4.0, 0.0, 1.0, 0.001, 0.0, 0.0, 0.0, 0.0)
"""5 ms of matrices, and decode attention of 1 ms and 1 us per token of context."""


@pytest.mark.parametrize(
    ("version", "args", "stages", "overlapped"),
    [
        ("0.13.0", (), 1, False),
        ("0.14.0", (), 1, True),
        ("0.15.1rc2", (), 1, True),
        ("0.24.0", ("--no-async-scheduling",), 1, False),
        ("0.24.0", ("--async-scheduling", "--no_async_scheduling"), 1, False),
        ("0.13.0", ("--async-scheduling",), 1, True),
        ("0.24.0", ("--spec-method", "ngram"), 1, False),
        ("0.24.0", ("--spec-method=eagle3",), 1, True),
        # An argument without its value: vLLM refuses it, nothing here breaks.
        ("0.24.0", ("--spec-method",), 1, True),
        ("0.32.0", (), 4, False),
        (None, (), 1, True),
    ],
)
def test_a_host_works_beside_the_gpu_where_vllm_schedules_asynchronously(
    version: str | None, args: tuple[str, ...], stages: int, overlapped: bool
) -> None:
    host = host_of_version(None if version is None else Version(version), args, stages)
    assert host.overhead == (OVERLAPPED if overlapped else SYNCHRONOUS)
    assert host.batches_in_flight == (2 if overlapped else 1)
    assert ("assumed" in host.words) == (version is None)


def test_a_variants_host_is_of_its_version_and_its_arguments() -> None:
    engine = EngineSettings(image="vllm/vllm-openai:v0.24.0", args=("--no-async-scheduling",))
    variant = Variant(ModelKey("ns/m"), "m", (), "pool", "L40S", 1, engine)
    assert host_of(variant) == host_of_version(Version("0.24.0"), engine.args)
    assert not host_of(variant).overhead.is_overlapped


def test_overlapped_work_counts_only_where_it_takes_longer_than_the_gpu() -> None:
    host = HostOverhead(Calibration(1.0, 0.5, 0.0), beside_ms=2.0, beside_ms_per_sequence=0.1)
    source = host.applied_to(SILICON)
    # The GPU takes 6 ms and the context's share; the host 2 ms and 0.1 ms per sequence.
    assert step_ms(source, 10, 0) == pytest.approx(6.5)
    assert step_ms(source, 100, 0) == pytest.approx(12.5)
    waiting = HostOverhead(Calibration(1.0, 2.5, 0.1)).applied_to(SILICON)
    for batch in (1, 10, 40, 100):
        assert step_ms(source, batch, 0) <= step_ms(waiting, batch, 0)


def test_what_engines_were_seen_to_need_replaces_what_is_exposed_alone() -> None:
    seen = Calibration(2.0, 3.0, 0.2)
    found = OVERLAPPED.applied_to(SILICON, seen)
    assert step_ms(found, 10, 0) == pytest.approx(2 * 6 + 3 + 2)
    assert isinstance(found, HostBeside)
    assert found.beside_ms == OVERLAPPED.beside_ms
    assert found.with_calibration(1.0, 0.0, 0.0).digest() != found.digest()
    assert SYNCHRONOUS.applied_to(SILICON, seen).digest() == seen.applied_to(SILICON).digest()
    assert SYNCHRONOUS.exposed == HOST_OVERHEAD


def test_a_source_without_a_calibration_has_none_to_replace() -> None:
    class Bare:
        def step_times(self, max_tokens: int, max_seqs: int) -> object:
            return SILICON.step_times(max_tokens, max_seqs)

        def digest(self) -> str:
            return "bare"

    with pytest.raises(SpecError, match="not kept apart"):
        HostBeside(Bare(), 1.0, 0.0).with_calibration(1.0, 0.0, 0.0)  # type: ignore[arg-type]


def test_every_platform_has_a_front_end_with_its_origin() -> None:
    for gpu in gpus():
        found = front_end_of(gpu.name)
        assert 1 <= found.milliseconds <= 40
        assert found.source == "fitted to measured runs" or found.source.startswith("assumed")
    assert front_end_of("H100").milliseconds == FITTED_MS["H100"]
    assert front_end_of("L40S").milliseconds == ELSEWHERE_MS
    assert min(FITTED_MS.values()) <= ELSEWHERE_MS <= max(FITTED_MS.values())
