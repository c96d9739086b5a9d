"""Which request is sent when, and how.

Owns the noun `PlannedRequest`: one request of an OpenAI-compatible endpoint. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

CHAT_PATH = "/v1/chat/completions"
"""OpenAI's path for a chat."""
TEXT_PATH = "/v1/completions"
"""OpenAI's path for a completion; vLLM takes a prompt as token ids there."""


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request to be sent `arrival_s` after the origin of the replay.

    `headers` are those by which its class is recognised. `prefix_blocks`: as in `TraceRequest`.
    With `as_token_ids` the prompt is a list of token ids, so that its length is exact.
    """

    id: str
    class_name: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    path: str
    headers: tuple[tuple[str, str], ...]
    model: str
    prefix_blocks: tuple[int, ...] = ()
    as_token_ids: bool = False
