"""Owns what one engine has counted, and `/metrics` in vLLM's names, labels and buckets.

Pure: seconds come in. Text is made from prepared prefixes, because forty
replicas are each scraped every second or two: rendering one costs about 0.1 ms, where
prometheus_client's registry takes ten times that. Its parser is the judge in the tests.

Names as of vLLM 0.24; the `_created` series of prometheus_client are left out.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TTFT_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_LATENCY_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_BUCKETS_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
ITERATION_BUCKETS_TOKENS = tuple(
    float(size) for size in (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
)


def buckets_1_2_5(limit: int) -> tuple[float, ...]:
    """Return 1, 2, 5, 10, 20, 50, ... up to `limit`."""
    found: list[float] = []
    decade = 1
    while decade <= limit:
        found += [float(decade * mantissa) for mantissa in (1, 2, 5) if decade * mantissa <= limit]
        decade *= 10
    return tuple(found)


class Counter:
    """A number that only grows (a gauge's may be set)."""

    __slots__ = ("_prefix", "value")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.value = 0.0

    def relabel(self, prefix: str) -> None:
        """Go on under other labels."""
        self._prefix = prefix

    def render(self, out: list[str]) -> None:
        """Append the sample line."""
        out.append(f"{self._prefix}{self.value!r}\n")


class Histogram:
    """Observations in buckets."""

    __slots__ = ("_bounds", "_count_prefix", "_counts", "_prefixes", "_sum_prefix", "total")

    def __init__(self, name: str, labels: str, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        edges = [*(repr(bound) for bound in bounds), "+Inf"]
        self._prefixes = tuple(f'{name}_bucket{{{labels},le="{edge}"}} ' for edge in edges)
        self._count_prefix = f"{name}_count{{{labels}}} "
        self._sum_prefix = f"{name}_sum{{{labels}}} "

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def render(self, out: list[str]) -> None:
        """Append the cumulative buckets, the count and the sum."""
        running = 0
        for prefix, count in zip(self._prefixes, self._counts, strict=True):
            running += count
            out.append(f"{prefix}{running}.0\n")
        out.append(f"{self._count_prefix}{running}.0\n")
        out.append(f"{self._sum_prefix}{self.total!r}\n")


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """What the labels say of an engine. `kv_blocks` of `block_size` tokens each."""

    model_name: str
    max_model_len: int
    block_size: int
    kv_blocks: int
    gpu_memory_utilization: float = 0.9
    prefix_caching: bool = False


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """The gauges' values at one instant. `kv_usage` is 0-1."""

    num_running: int
    num_waiting: int
    kv_usage: float


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """One request's life, for the per-request histograms. Times in seconds, lengths in tokens.

    queue: arrival to first scheduled; prefill: to the first token; decode: to the last.
    cached_tokens: of the prompt, found in the prefix cache.
    """

    finished_reason: str
    prompt_tokens: int
    generation_tokens: int
    max_tokens: int
    queue_s: float
    prefill_s: float
    decode_s: float
    cached_tokens: int = 0


class VllmMetrics:
    """All metrics of one engine."""

    def __init__(self, identity: EngineIdentity) -> None:
        self._families: list[tuple[str, tuple[Counter | Histogram, ...]]] = []
        self._labels = f'engine="0",model_name="{_escaped(identity.model_name)}"'
        self._identity = identity
        self._add_gauges()
        self._add_counters()
        self._add_latencies()
        self._add_lengths(identity.max_model_len)

    def _add_gauges(self) -> None:
        identity = self._identity
        self._running = self._gauge("num_requests_running")
        self._waiting = self._gauge("num_requests_waiting")
        reasons = self._labelled(
            "gauge", "num_requests_waiting_by_reason", "reason", ("capacity", "deferred")
        )
        self._waiting_for_capacity = reasons["capacity"]
        self._kv_usage = self._gauge("kv_cache_usage_perc")
        sleep = self._labelled(
            "gauge", "engine_sleep_state", "sleep_state", ("awake", "weights_offloaded", "discard_all")
        )
        sleep["awake"].value = 1.0
        config = (
            f'block_size="{identity.block_size}",cache_dtype="auto",'
            f'enable_prefix_caching="{identity.prefix_caching}",engine="0",gpu_memory_utilization="{identity.gpu_memory_utilization}",'
            f'num_gpu_blocks="{identity.kv_blocks}"'
        )
        self._family("gauge", "cache_config_info", (config,))[0].value = 1.0
        (self._lora_info,) = self._family("gauge", "lora_requests_info", (_lora_labels(0, ()),))

    def _add_counters(self) -> None:
        self._prompt_tokens = self._counter("prompt_tokens")
        sources = ("local_compute", "local_cache_hit", "external_kv_transfer")
        by_source = self._labelled("counter", "prompt_tokens_by_source", "source", sources)
        self._prompt_tokens_computed = by_source["local_compute"]
        self._prompt_tokens_found = by_source["local_cache_hit"]
        self._prompt_tokens_cached = self._counter("prompt_tokens_cached")
        self._prefix_cache_queries = self._counter("prefix_cache_queries")
        self._prefix_cache_hits = self._counter("prefix_cache_hits")
        self.generation_tokens = self._counter("generation_tokens")
        self.num_preemptions = self._counter("num_preemptions")
        self.admission_rejections = self._counter("admission_rejections")
        # No KV transfer yet: these exist and stay 0, as on an engine without.
        for name in ("external_prefix_cache_queries", "external_prefix_cache_hits", "corrupted_requests"):
            self._counter(name)
        self._success = self._labelled(
            "counter",
            "request_success",
            "finished_reason",
            ("stop", "length", "abort", "error", "repetition"),
        )

    def _add_latencies(self) -> None:
        self.ttft = self._histogram("time_to_first_token_seconds", TTFT_BUCKETS_S)
        self.itl = self._histogram("inter_token_latency_seconds", TOKEN_LATENCY_BUCKETS_S)
        self._tpot = self._histogram("request_time_per_output_token_seconds", TOKEN_LATENCY_BUCKETS_S)
        self._e2e = self._histogram("e2e_request_latency_seconds", REQUEST_BUCKETS_S)
        self._queue = self._histogram("request_queue_time_seconds", REQUEST_BUCKETS_S)
        self._inference = self._histogram("request_inference_time_seconds", REQUEST_BUCKETS_S)
        self._prefill = self._histogram("request_prefill_time_seconds", REQUEST_BUCKETS_S)
        self._decode = self._histogram("request_decode_time_seconds", REQUEST_BUCKETS_S)

    def _add_lengths(self, max_model_len: int) -> None:
        buckets = buckets_1_2_5(max_model_len)
        self.iteration_tokens = self._histogram("iteration_tokens_total", ITERATION_BUCKETS_TOKENS)
        self._prompt_length = self._histogram("request_prompt_tokens", buckets)
        self._generation_length = self._histogram("request_generation_tokens", buckets)
        self._max_generation = self._histogram("request_max_num_generation_tokens", buckets)
        self._params_max_tokens = self._histogram("request_params_max_tokens", buckets)
        self._params_n = self._histogram("request_params_n", buckets)
        self._prefill_computed = self._histogram("request_prefill_kv_computed_tokens", buckets)

    def request_ended(self, request: FinishedRequest) -> None:
        """Observe a request that came to its end (`abort`: no latency, as in vLLM's output path)."""
        self._success[request.finished_reason].value += 1
        if request.finished_reason == "abort":
            return
        inference_s = request.prefill_s + request.decode_s
        self._e2e.observe(request.queue_s + inference_s)
        self._queue.observe(request.queue_s)
        self._inference.observe(inference_s)
        self._prefill.observe(request.prefill_s)
        self._decode.observe(request.decode_s)
        if request.generation_tokens > 1:
            self._tpot.observe(request.decode_s / (request.generation_tokens - 1))
        self._prompt_length.observe(request.prompt_tokens)
        self._generation_length.observe(request.generation_tokens)
        self._max_generation.observe(request.generation_tokens)
        self._params_max_tokens.observe(request.max_tokens)
        self._params_n.observe(1)
        self._prefill_computed.observe(request.prompt_tokens - request.cached_tokens)

    def request_admitted(self, prompt_tokens: int, cached_tokens: int) -> None:
        """Count what a request looked for in the prefix cache, when it runs for the first time.

        As vLLM 0.32 does it; versions before count a request that waits in every iteration.
        """
        if self._identity.prefix_caching:
            self._prefix_cache_queries.value += prompt_tokens
            self._prefix_cache_hits.value += cached_tokens

    def iteration_ended(self, prompt_tokens: int, cached_tokens: int, generated_tokens: int) -> None:
        """Count an iteration: the prompts that it completed, what of them was found, and new tokens."""
        computed = prompt_tokens - cached_tokens
        self._prompt_tokens.value += prompt_tokens
        self._prompt_tokens_computed.value += computed
        self._prompt_tokens_found.value += cached_tokens
        self._prompt_tokens_cached.value += cached_tokens
        self.generation_tokens.value += generated_tokens
        self.iteration_tokens.observe(computed + generated_tokens)

    def render(self, load: EngineLoad) -> bytes:
        """Return the text exposition with the gauges as in `load`."""
        self._running.value = float(load.num_running)
        self._waiting.value = self._waiting_for_capacity.value = float(load.num_waiting)
        self._kv_usage.value = load.kv_usage
        self._lora_info.value = time.time()
        out: list[str] = []
        for header, samples in self._families:
            out.append(header)
            for sample in samples:
                sample.render(out)
        return "".join(out).encode()

    def show_adapters(self, max_loras: int, running: Iterable[str]) -> None:
        """The adapters that running requests name, as labels of one sample."""
        self._lora_info.relabel(f"vllm:lora_requests_info{{{_lora_labels(max_loras, running)}}} ")

    def _gauge(self, name: str) -> Counter:
        return self._family("gauge", name, (self._labels,))[0]

    def _counter(self, name: str) -> Counter:
        return self._family("counter", name, (self._labels,))[0]

    def _labelled(self, kind: str, name: str, label: str, values: Sequence[str]) -> Mapping[str, Counter]:
        labels = [f'{self._labels},{label}="{value}"' for value in values]
        return dict(zip(values, self._family(kind, name, labels), strict=True))

    def _family(self, kind: str, name: str, labels: Sequence[str]) -> tuple[Counter, ...]:
        # A counter's family name carries the suffix too, in the text format of version 0.0.4.
        full_name = f"vllm:{name}_total" if kind == "counter" else f"vllm:{name}"
        samples = tuple(Counter(f"{full_name}{{{each}}} ") for each in labels)
        self._families.append((_header(full_name, kind), samples))
        return samples

    def _histogram(self, name: str, buckets: Sequence[float]) -> Histogram:
        full_name = f"vllm:{name}"
        histogram = Histogram(full_name, self._labels, buckets)
        self._families.append((_header(full_name, "histogram"), (histogram,)))
        return histogram


def _lora_labels(max_loras: int, running: Iterable[str]) -> str:
    names = _escaped(",".join(sorted(running)))
    return f'max_lora="{max_loras}",running_lora_adapters="{names}",waiting_lora_adapters=""'


def _header(full_name: str, kind: str) -> str:
    words = full_name.removeprefix("vllm:").replace("_", " ")
    return f"# HELP {full_name} Simulated engine: {words}.\n# TYPE {full_name} {kind}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
