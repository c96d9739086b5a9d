"""How many batches vLLM keeps in flight, by release and settings (read in its packages)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.engine.in_flight import (
    Executor,
    InFlight,
    NotAsynchronous,
    NotAsynchronousReason,
    Platform,
    Release,
    SchedulingSettings,
    batches_in_flight,
)

PLAIN = SchedulingSettings((0, 32, 0))


def count(release: Release, **settings: object) -> int | NotAsynchronousReason:
    found = batches_in_flight(replace(PLAIN, release=release, **settings))  # type: ignore[arg-type]
    return found.reason if isinstance(found, NotAsynchronous) else found.batches


@pytest.mark.parametrize(
    ("release", "by_default", "asked", "forbidden"),
    [
        ((0, 8, 5), 1, NotAsynchronousReason.NO_SUCH_FLAG, 1),
        ((0, 9, 2), 1, NotAsynchronousReason.NO_SUCH_FLAG, 1),
        ((0, 10, 0), 1, 2, 1),
        ((0, 11, 0), 1, 2, 1),
        ((0, 11, 2), 1, 2, 1),
        ((0, 12, 0), 1, 2, 1),
        ((0, 13, 0), 1, 2, 1),
        ((0, 14, 0), 2, 2, 1),
        ((0, 15, 1), 2, 2, 1),
        ((0, 19, 0), 2, 2, 1),
        ((0, 32, 0), 2, 2, 1),
    ],
)
def test_asynchronous_scheduling_is_the_default_from_0_14(
    release: Release, by_default: int, asked: int | NotAsynchronousReason, forbidden: int
) -> None:
    found = [count(release, async_scheduling=flag) for flag in (None, True, False)]
    assert found == [by_default, asked, forbidden]


@pytest.mark.parametrize("release", [(0, 8, 5), (0, 13, 0), (0, 14, 0), (0, 32, 0)])
@pytest.mark.parametrize("flag", [None, True, False])
def test_on_cpu_vllm_schedules_synchronously_whatever_the_flag(release: Release, flag: bool | None) -> None:
    assert count(release, platform=Platform.CPU, async_scheduling=flag) == 1


@pytest.mark.parametrize(
    ("release", "method", "by_default", "asked"),
    [
        ((0, 11, 0), "eagle", 1, NotAsynchronousReason.SPECULATIVE_METHOD),
        ((0, 13, 0), "eagle3", 1, 2),
        ((0, 14, 0), "deepseek_mtp", 2, 2),
        ((0, 14, 0), "ngram", 1, NotAsynchronousReason.SPECULATIVE_METHOD),
        ((0, 32, 0), "ngram", 1, NotAsynchronousReason.SPECULATIVE_METHOD),
        ((0, 17, 0), "ngram_gpu", 1, NotAsynchronousReason.SPECULATIVE_METHOD),
        ((0, 19, 0), "ngram_gpu", 2, 2),
        ((0, 15, 0), "draft_model", 1, NotAsynchronousReason.SPECULATIVE_METHOD),
        ((0, 17, 0), "draft_model", 1, 2),
        ((0, 28, 0), "draft_model", 2, 2),
        ((0, 25, 0), "dspark", 2, 2),
    ],
)
def test_a_method_of_speculative_decoding_decides_too(
    release: Release, method: str, by_default: int, asked: int | NotAsynchronousReason
) -> None:
    assert count(release, speculative_method=method) == by_default
    assert count(release, speculative_method=method, async_scheduling=True) == asked


@pytest.mark.parametrize(
    ("release", "executor", "by_default", "asked"),
    [
        ((0, 10, 0), Executor.UNI, 1, NotAsynchronousReason.EXECUTOR),
        ((0, 11, 0), Executor.UNI, 1, 1),
        ((0, 11, 1), Executor.UNI, 1, 2),
        ((0, 14, 0), Executor.UNI, 2, 2),
        ((0, 14, 0), Executor.EXTERNAL_LAUNCHER, 2, 2),
        ((0, 10, 0), Executor.RAY, 1, 2),
        ((0, 14, 0), Executor.RAY, 1, NotAsynchronousReason.EXECUTOR),
        ((0, 20, 0), Executor.RAY, 1, NotAsynchronousReason.EXECUTOR),
        ((0, 21, 0), Executor.RAY, 2, 2),
    ],
)
def test_the_executor_decides_too(
    release: Release, executor: Executor, by_default: int, asked: int | NotAsynchronousReason
) -> None:
    assert count(release, executor=executor) == by_default
    assert count(release, executor=executor, async_scheduling=True) == asked


@pytest.mark.parametrize(
    ("release", "has_v2_runner", "by_default", "asked"),
    [
        ((0, 8, 5), False, 1, NotAsynchronousReason.NO_SUCH_FLAG),
        ((0, 9, 2), False, 4, NotAsynchronousReason.NO_SUCH_FLAG),
        ((0, 13, 0), False, 4, NotAsynchronousReason.PIPELINE),
        ((0, 14, 0), False, 4, NotAsynchronousReason.PIPELINE),
        ((0, 15, 0), False, 4, 4),
        ((0, 22, 0), True, 4, 4),
        ((0, 23, 0), True, 5, 5),
        ((0, 32, 0), False, 4, 4),
        ((0, 32, 0), True, 5, 5),
    ],
)
def test_a_pipeline_is_full_and_the_newer_model_runner_keeps_one_batch_more(
    release: Release, has_v2_runner: bool, by_default: int, asked: int | NotAsynchronousReason
) -> None:
    settings = {"pipeline_size": 4, "has_v2_runner": has_v2_runner}
    assert count(release, **settings) == by_default
    assert count(release, **settings, async_scheduling=True) == asked


def test_the_batches_that_fill_a_pipeline_are_no_lag_of_the_engine() -> None:
    assert [InFlight(n, 4).of_engine for n in (1, 4, 5)] == [1, 1, 2]
    assert [InFlight(n).of_engine for n in (1, 2)] == [1, 2]


def test_a_refusal_names_version_cause_and_remedy() -> None:
    refused = batches_in_flight(replace(PLAIN, speculative_method="ngram", async_scheduling=True))
    assert str(refused) == (
        "vLLM 0.32.0 does not schedule speculative decoding by 'ngram' asynchronously; "
        "remove --async-scheduling"
    )
