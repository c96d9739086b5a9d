"""What the scheduler keeps of a request and of an iteration, and what it reports of both.

Owns the records of `scheduler`, which has the rules; none of them decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from argosy.engine.prefixes import Key
from argosy.engine.request import EngineRequest


class Step(NamedTuple):
    """An iteration that has begun. Its decoding sequences had `kv_tokens` in the KV cache before it.

    `admitted` are the requests that were taken from the queue for the first time at its start; with
    two batches in flight they run in the iteration after it, unless the engine was idle.
    """

    duration_ms: float
    num_decodes: int
    kv_tokens: int
    prefill_tokens: int
    admitted: tuple[int, ...]


class StepEvents(NamedTuple):
    """What an iteration brought, as request ids.

    token_ids:       each got one token; `first_token_ids` and `finished` are among them
    first_token_ids: the token was their first
    finished:        the token was their last
    preempted:       lost their KV blocks when the iteration began; they wait again
    prompt_tokens:   prompts whose first token came, tokens (as vLLM counts them: when they
                     are complete, cached ones included, recomputation never)
    """

    token_ids: tuple[int, ...]
    first_token_ids: tuple[int, ...]
    finished: tuple[int, ...]
    preempted: tuple[int, ...]
    prompt_tokens: int


@dataclass(slots=True)
class EngineCounters:
    """Totals since the engine's start, named as in vLLM's metrics.

    `iteration_tokens` is the sum of vLLM's histogram `iteration_tokens_total`: prompts
    completed plus tokens generated. `computed_prompt_tokens` is what the iterations really
    computed in chunks: no cached tokens, but recomputation too.
    """

    iterations: int = 0
    iteration_tokens: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    computed_prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0
    finished: int = 0


class Sequence:
    """A request's state.

    While it waits or prefills: `computed` of `target` tokens are in KV, in `blocks` blocks.
    While it decodes only `origin` and `end` count, both in decode steps of the engine: it has
    origin + decode_steps tokens in KV and gets its last token in step `end`.
    From the decision that computes its last token to the end of that iteration it holds `blocks`.
    `age` numbers the sequences in the order in which their prompts were computed.
    With prefix caching, `shared` are the blocks that other prompts may have too, of which it holds the first
    `held`; `left` of its own blocks were full when it was preempted. `cached` prompt tokens were found when
    it ran for the first time.
    """

    __slots__ = (
        "age",
        "blocks",
        "cached",
        "computed",
        "end",
        "generated",
        "has_run",
        "held",
        "left",
        "origin",
        "request",
        "shared",
        "target",
    )

    def __init__(self, request: EngineRequest, shared: tuple[Key, ...] = ()) -> None:
        self.request = request
        self.shared = shared
        self.held = self.left = self.cached = 0
        self.has_run = False
        self.generated = 0
        self.computed = 0
        self.target = request.prompt_tokens
        self.blocks = 0
        self.origin = 0
        self.end = 0
        self.age = 0

    def own(self, count: int) -> tuple[Key, ...]:
        """The names of so many of its own full blocks, which follow those that it shares."""
        first = len(self.shared)
        return tuple((-1 - self.request.id, place) for place in range(first, first + count))


@dataclass(slots=True)
class Batch:
    """What was decided for one iteration. Those that were aborted since get no token."""

    duration_ms: float
    num_decodes: int
    kv_tokens: int
    prefill_tokens: int
    token_ids: list[int]
    first_tokens: list[Sequence]
    ending: list[Sequence]
    preempted: tuple[int, ...]
    aborted: set[int]

    @property
    def only_decodes(self) -> bool:
        """Whether it computes one token of each decoding sequence, and all go on."""
        return not self.prefill_tokens and not self.ending and not self.preempted and not self.aborted

    def ends(self, request_id: int) -> bool:
        """Whether it computes the last token of a request that was not aborted since."""
        return request_id not in self.aborted and any(
            sequence.request.id == request_id for sequence in self.ending
        )
