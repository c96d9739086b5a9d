"""Play requests to vLLM's own scheduler, without a model: cases come in as JSON, what it did goes out.

Run by the interpreter that has vLLM, never by Argosy's. The only argument is the folder of the tiny model.

A case: {kv_blocks, block_size, max_num_seqs, max_num_batched_tokens, max_model_len, batches_in_flight,
requests: [[token ids of the prompt, output tokens], ...], moves: [[numbers that arrive, number to abort or
null], ...]}; a move is played before each iteration, the rest of them run without. The answer to it:
{iterations: [[tokens scheduled, free blocks, numbers that got a token, free blocks then], ...],
cached: {number: tokens found, where its first token came}}.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, deque
from typing import Any

import torch
from vllm.config import CacheConfig, DeviceConfig, ModelConfig, ParallelConfig, SchedulerConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

init_none_hash(sha256)
MODEL = ModelConfig(model=sys.argv[1], dtype="bfloat16", max_model_len=600, enforce_eager=True)


class Played:
    """One scheduler, its requests by number, and the batches that are in flight."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case, self.ahead = case, case["batches_in_flight"] > 1
        size, blocks = case["block_size"], case["kv_blocks"] + 1  # one is vLLM's null block
        MODEL.max_model_len = case["max_model_len"]
        bounds = {name: case[name] for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len")}
        scheduling = SchedulerConfig(
            **bounds, enable_chunked_prefill=True, is_encoder_decoder=False, async_scheduling=self.ahead
        )
        cache = CacheConfig(block_size=size, enable_prefix_caching=True)
        cache.num_gpu_blocks = blocks
        config = VllmConfig(
            model_config=MODEL,
            scheduler_config=scheduling,
            cache_config=cache,
            parallel_config=ParallelConfig(),
            device_config=DeviceConfig("cpu"),
        )
        spec = FullAttentionSpec(block_size=size, num_kv_heads=1, head_size=1, dtype=torch.float32)
        kv = KVCacheConfig(
            num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        )
        self.scheduler = (AsyncScheduler if self.ahead else Scheduler)(
            vllm_config=config,
            kv_cache_config=kv,
            structured_output_manager=StructuredOutputManager(config),
            block_size=size,
            hash_block_size=size,
            log_stats=True,
        )
        self.hasher = get_request_block_hasher(size, sha256)
        self.batches: deque[tuple[Any, list[str]]] = deque()
        self.generated: Counter[str] = Counter()
        self.cached: dict[str, int] = {}

    def add(self, number: int) -> None:
        """Queue a request."""
        prompt, output = self.case["requests"][number]
        sampling = SamplingParams(max_tokens=output, ignore_eos=True)
        self.scheduler.add_request(Request(str(number), prompt, sampling, None, block_hasher=self.hasher))

    def decide(self) -> None:
        """One batch more is in flight, unless nothing can be computed."""
        batch = self.scheduler.schedule()
        if batch.total_num_scheduled_tokens:
            requests = self.scheduler.requests
            sampled = [each for each in batch.num_scheduled_tokens if not requests[each].is_prefill_chunk]
            self.batches.append((batch, sampled))

    @property
    def num_free(self) -> int:
        """KV blocks that no request holds."""
        return int(self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks())

    def finish(self) -> list[int]:
        """End the oldest batch; whose token came. Every token is another one."""
        batch, sampled = self.batches.popleft()
        ids, tokens = list(batch.num_scheduled_tokens), []
        for each in ids:
            tokens.append([10_000_000 + int(each) * 1000 + self.generated[each]] if each in sampled else [])
            self.generated[each] += each in sampled
        output = ModelRunnerOutput(ids, {each: place for place, each in enumerate(ids)}, tokens)
        came = []
        for outputs in self.scheduler.update_from_output(batch, output).values():
            for each in outputs.outputs:
                came += [int(each.request_id)] * len(each.new_token_ids)
                if each.prefill_stats is not None:
                    self.cached[each.request_id] = each.prefill_stats.num_cached_tokens
        return sorted(came)


def played(case: dict[str, Any]) -> dict[str, Any]:
    """What a case's scheduler does until nothing is left."""
    run, iterations, moves = Played(case), [], deque(case["moves"])
    while True:
        arriving, aborted = moves.popleft() if moves else ([], None)
        for number in arriving:
            run.add(number)
        if aborted is not None and str(aborted) in run.scheduler.requests:
            run.scheduler.finish_requests(str(aborted), RequestStatus.FINISHED_ABORTED)
        if not run.batches:
            run.decide()
        if run.batches and run.ahead:
            run.decide()
        if run.batches:
            tokens = sum(run.batches[0][0].num_scheduled_tokens.values())
            iterations.append([tokens, run.num_free, run.finish(), run.num_free])
        elif moves:
            iterations.append([0, run.num_free, [], run.num_free])
        else:
            return {"iterations": iterations, "cached": run.cached}


sys.stdout.write(json.dumps([played(case) for case in json.load(sys.stdin)]) + "\n")
