"""How many batches an engine keeps in flight: what vLLM makes of its version and its settings.

Owns the rules of `VllmConfig` as a pure function. Input: a release, what runs it, and the flag
`--[no-]async-scheduling`. Output: the size of the engine's queue of batches (`EngineCore` asks
`max_concurrent_batches`), or why vLLM would not start.

Sources, read in the packages of vLLM 0.8.5 to 0.32.0: `config/vllm.py` (before 0.11.1 `engine/arg_utils.py`),
`platforms/cpu.py`, and `max_concurrent_batches` in `v1/executor/*` (from 0.23 in `config/vllm.py`).

- Before 0.10.0 there is no asynchronous scheduling. The flag is off by default until 0.13 and on from
  0.14, but for what the version cannot do asynchronously: a method of speculative decoding, the executor
  (Ray, until 0.20), and pipelines (0.14, and from 0.31 on the older model runner). Asked for by the flag,
  the same refuses to start.
- On CPU it is off whatever the flag.
- A pipeline keeps as many batches as it has stages. From 0.23 the newer model runner (V2, by default for
  some architectures) keeps one more where it schedules asynchronously; the older one does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from argosy.refusals import Refused

Release = tuple[int, ...]
"""A version's release as `packaging.version.Version.release` has it: (0, 15, 1)."""

_FLAG, _DEFAULT_ON = (0, 10), (0, 14)
_IN_CONFIG, _PIPELINES, _V2_RUNNER = (0, 11, 1), (0, 15), (0, 23)
_NO_PIPELINE_IN_OLD_RUNNER = (0, 31)
_RAY_BY_QUEUES = (0, 21)
_UNI_QUEUES, _MP_PIPELINES = (0, 11, 1), (0, 9)
# Methods of speculative decoding that are scheduled asynchronously: the first release that does so by
# default, and the first that does so where the flag asks. `EagleModelTypes` holds every name with `mtp`.
_EAGLE = frozenset({"eagle", "eagle3", "extract_hidden_states", "dflash"})
_SINCE: dict[str, tuple[Release, Release]] = {
    "ngram_gpu": ((0, 18), (0, 18)),
    "draft_model": ((0, 28), (0, 16)),
    "dspark": ((0, 25), (0, 25)),
}


class Platform(StrEnum):
    """What vLLM runs on, as far as scheduling depends on it."""

    GPU = "gpu"
    CPU = "cpu"


class Executor(StrEnum):
    """`--distributed-executor-backend`: `uni` by default on one GPU, otherwise `mp`."""

    UNI = "uni"
    MP = "mp"
    EXTERNAL_LAUNCHER = "external_launcher"
    RAY = "ray"


class NotAsynchronousReason(StrEnum):
    """What a vLLM of that version cannot schedule asynchronously."""

    NO_SUCH_FLAG = "NoSuchFlag"
    SPECULATIVE_METHOD = "SpeculativeMethod"
    EXECUTOR = "Executor"
    PIPELINE = "Pipeline"


@dataclass(frozen=True, slots=True)
class NotAsynchronous(Refused[NotAsynchronousReason]):
    """`--async-scheduling` is asked of a vLLM that does not start with it."""


@dataclass(frozen=True, slots=True)
class SchedulingSettings:
    """What the count depends on.

    executor:            None: vLLM's choice
    speculative_method:  None: no speculative decoding
    async_scheduling:    the flag; None where it is not given
    has_v2_runner:       the newer model runner; it matters for pipelines only
    """

    release: Release
    platform: Platform = Platform.GPU
    executor: Executor | None = None
    speculative_method: str | None = None
    pipeline_size: int = 1
    async_scheduling: bool | None = None
    has_v2_runner: bool = False


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many batches, and how many stages of a pipeline they fill."""

    batches: int
    pipeline_size: int = 1

    @property
    def of_engine(self) -> int:
        """`EngineLimits.batches_in_flight`: 2 where a batch is decided before its turn, otherwise 1.

        The batches that fill a pipeline are part of its step times (`perf.profiles.reshape`): one of the
        engine's iterations is a round through all stages, though vLLM decides after each stage. So a
        pipeline's lag is overstated, by a factor of at most the stages.
        """
        return 2 if self.batches > self.pipeline_size else 1


def batches_in_flight(asked: SchedulingSettings) -> InFlight | NotAsynchronous:
    """The size of the engine's queue of batches, or why vLLM would refuse to start."""
    is_async = _is_asynchronous(asked)
    if isinstance(is_async, NotAsynchronous):
        return is_async
    stages, release = asked.pipeline_size, asked.release
    if stages > 1:
        if release < _MP_PIPELINES and asked.executor is not Executor.RAY:
            return InFlight(1, stages)
        ahead = is_async and asked.has_v2_runner and release >= _V2_RUNNER
        return InFlight(stages + 1 if ahead else stages, stages)
    in_process = asked.executor is Executor.UNI and release < _UNI_QUEUES
    return InFlight(2 if is_async and not in_process else 1)


def _is_asynchronous(asked: SchedulingSettings) -> bool | NotAsynchronous:
    flag = asked.async_scheduling
    if flag is False or asked.platform is Platform.CPU:
        return False
    if flag is None:
        return asked.release >= _DEFAULT_ON and _obstacle(asked, by_default=True) is None
    return _obstacle(asked, by_default=False) or True


def _obstacle(asked: SchedulingSettings, by_default: bool) -> NotAsynchronous | None:
    """What keeps this engine from asynchronous scheduling; None where nothing does."""
    release, method = asked.release, asked.speculative_method
    if release < _FLAG:
        reason, what = NotAsynchronousReason.NO_SUCH_FLAG, "anything"
    elif method is not None and not _speculates(release, method, by_default):
        reason, what = NotAsynchronousReason.SPECULATIVE_METHOD, f"speculative decoding by {method!r}"
    elif not _executes(asked):
        reason, what = NotAsynchronousReason.EXECUTOR, f"the executor {str(asked.executor)!r}"
    elif asked.pipeline_size > 1 and not _pipelines(asked, by_default):
        reason, what = NotAsynchronousReason.PIPELINE, f"a pipeline of {asked.pipeline_size} stages"
    else:
        return None
    version = ".".join(map(str, release))
    return NotAsynchronous(
        reason, f"vLLM {version} does not schedule {what} asynchronously; remove --async-scheduling"
    )


def _speculates(release: Release, method: str, by_default: bool) -> bool:
    if method in _EAGLE or "mtp" in method:
        return release >= _IN_CONFIG
    default, asked = _SINCE.get(method, (None, None))
    since = default if by_default else asked
    return since is not None and release >= since


def _executes(asked: SchedulingSettings) -> bool:
    if asked.executor is Executor.RAY:
        # 0.10 and 0.11.0 do not ask which executor it is.
        return asked.release >= _RAY_BY_QUEUES or asked.release < _IN_CONFIG
    # Until 0.10 the batch in flight would be computed in the scheduler's own thread.
    return asked.executor is not Executor.UNI or asked.release >= (0, 11)


def _pipelines(asked: SchedulingSettings, by_default: bool) -> bool:
    if asked.release < _PIPELINES:
        return False
    return not by_default or asked.has_v2_runner or asked.release < _NO_PIPELINE_IN_OLD_RUNNER
