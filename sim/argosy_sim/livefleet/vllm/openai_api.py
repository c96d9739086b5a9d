"""Owns the OpenAI protocol of one simulated vLLM: request bodies in, answers and frames out.

Pure: sockets are `server`'s, times are `driver`'s. A prompt's tokens are its UTF-8 bytes
divided by four, rounded up, and every generated token is four bytes of text: a conversation
that is sent back with its answers counts them as before.

With `ignore_eos` the answer has `max_tokens` tokens; without, a length that depends on the
prompt alone (at most 512), so that the same trace gives the same fleet the same work.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any

BYTES_PER_TOKEN = 4
NATURAL_LENGTH_TOKENS = 512
_COMPLETIONS_DEFAULT_MAX_TOKENS = 16  # OpenAI's, and vLLM's, for /v1/completions

_WORDS = (" the", " sea", " and", " oak", " was", " red", " for", " sun", " all", " day", " are", " one")


class Endpoint(StrEnum):
    """The two ways to ask for text."""

    CHAT = "/v1/chat/completions"
    TEXT = "/v1/completions"


@dataclass(frozen=True, slots=True)
class ServedEngine:
    """What a request is checked against. adapters: LoRA adapters that it holds, with their sources"""

    names: tuple[str, ...]
    max_model_len: int
    adapters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generation:
    """A valid request. Lengths in tokens; `output_tokens` is what will be generated."""

    endpoint: Endpoint
    model: str
    prompt_tokens: int
    max_tokens: int
    output_tokens: int
    stream: bool
    include_usage: bool

    @property
    def finish_reason(self) -> str:
        """Why generation will end."""
        return "length" if self.output_tokens == self.max_tokens else "stop"


@dataclass(frozen=True, slots=True)
class ApiError:
    """A refusal, as vLLM words it."""

    status: HTTPStatus
    kind: str
    message: str
    param: str | None = None

    def to_json(self) -> bytes:
        """Return the body of the answer."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": int(self.status)}
        return json.dumps({"error": error}).encode()


def bad_request(message: str, param: str | None = None) -> ApiError:
    """Return a 400."""
    return ApiError(HTTPStatus.BAD_REQUEST, "BadRequestError", message, param)


class _Refusal(Exception):  # noqa: N818
    """Carries an `ApiError` out of the parser, nowhere further."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


def parse_generation(endpoint: Endpoint, body: bytes, engine: ServedEngine) -> Generation | ApiError:
    """Read and check a request body."""
    try:
        fields = json.loads(body)
    except ValueError as error:
        return ApiError(HTTPStatus.BAD_REQUEST, "Bad Request", f"JSON decode error: {error}")
    if not isinstance(fields, dict):
        return bad_request("the body must be a JSON object")
    try:
        return _generation(endpoint, fields, engine)
    except _Refusal as refusal:
        return refusal.error


def _generation(endpoint: Endpoint, fields: Mapping[str, Any], engine: ServedEngine) -> Generation:
    model = fields.get("model") or engine.names[0]
    if model not in engine.names and model not in engine.adapters:
        message = f"The model `{model}` does not exist."
        raise _Refusal(ApiError(HTTPStatus.NOT_FOUND, "NotFoundError", message, "model"))
    if _whole(fields, "n", 1) != 1:
        raise _Refusal(bad_request("this simulated engine answers with one choice: n must be 1", "n"))
    prompt_bytes, digest = _chat_prompt(fields) if endpoint is Endpoint.CHAT else _text_prompt(fields)
    prompt_tokens = max(1, -(-prompt_bytes // BYTES_PER_TOKEN))
    max_tokens = _max_tokens(endpoint, fields, engine.max_model_len - prompt_tokens)
    _require_room(prompt_tokens, max_tokens, engine.max_model_len)
    natural = 1 + digest % NATURAL_LENGTH_TOKENS
    options = fields.get("stream_options") or {}
    return Generation(
        endpoint=endpoint,
        model=model,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        output_tokens=max_tokens if fields.get("ignore_eos") is True else min(max_tokens, natural),
        stream=fields.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _max_tokens(endpoint: Endpoint, fields: Mapping[str, Any], room: int) -> int:
    default = max(1, room) if endpoint is Endpoint.CHAT else _COMPLETIONS_DEFAULT_MAX_TOKENS
    if endpoint is Endpoint.CHAT and fields.get("max_completion_tokens") is not None:
        return _whole(fields, "max_completion_tokens", default)
    return _whole(fields, "max_tokens", default)


def _whole(fields: Mapping[str, Any], name: str, default: int) -> int:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _Refusal(bad_request(f"{name} must be a whole number of at least 1, got {value!r}.", name))
    return value


def _require_room(prompt_tokens: int, max_tokens: int, limit: int) -> None:
    # A prompt that fills the context leaves no room for even one token.
    if prompt_tokens + max_tokens <= limit:
        return
    raise _Refusal(
        bad_request(
            f"This model's maximum context length is {limit} tokens. However, you requested "
            f"{prompt_tokens + max_tokens} tokens ({prompt_tokens} in the prompt, {max_tokens} in the "
            "completion). Please reduce the length of the prompt or completion.",
            "max_tokens" if prompt_tokens < limit else "prompt",
        )
    )


def _chat_prompt(fields: Mapping[str, Any]) -> tuple[int, int]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _Refusal(bad_request("messages must be a list of at least one message", "messages"))
    texts = [text for message in messages for text in _message_texts(message)]
    return _measure(texts)


def _message_texts(message: object) -> list[str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _Refusal(bad_request("a message is an object with a role", "messages"))
    content = message.get("content")
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if isinstance(content, list):
        return [
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        ]
    raise _Refusal(bad_request("a message's content is a string or a list of parts", "messages"))


def _text_prompt(fields: Mapping[str, Any]) -> tuple[int, int]:
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return _measure([prompt])
    if isinstance(prompt, list) and prompt and all(isinstance(token, int) for token in prompt):
        return len(prompt) * BYTES_PER_TOKEN, zlib.crc32(repr(prompt).encode())
    raise _Refusal(bad_request("prompt must be one string, or one list of token ids", "prompt"))


def _measure(texts: Sequence[str]) -> tuple[int, int]:
    num_bytes, digest = 0, 0
    for text in texts:
        # A lone surrogate is valid in JSON and has no UTF-8: it counts as one replaced character.
        encoded = text.encode("utf-8", "replace")
        num_bytes += len(encoded)
        digest = zlib.crc32(encoded, digest)
    return num_bytes, digest


def text_of(num_tokens: int) -> str:
    """Return the text of an answer's first tokens."""
    rounds, rest = divmod(num_tokens, len(_WORDS))
    return "".join(_WORDS) * rounds + "".join(_WORDS[:rest])


@dataclass(frozen=True, slots=True)
class Answer:
    """What identifies one answer: id and Unix time in seconds."""

    id: str
    created_s: int

    def whole(self, request: Generation) -> bytes:
        """Return the body of an answer that is not streamed."""
        text = text_of(request.output_tokens)
        choice: dict[str, Any] = {"index": 0}
        if request.endpoint is Endpoint.CHAT:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": request.finish_reason, "stop_reason": None}
        object_name = "chat.completion" if request.endpoint is Endpoint.CHAT else "text_completion"
        body = self._head(object_name, request) | {"choices": [choice], "usage": _usage(request)}
        return json.dumps(body).encode()

    def _head(self, object_name: str, request: Generation) -> dict[str, Any]:
        return {"id": self.id, "object": object_name, "created": self.created_s, "model": request.model}

    def frames(self, request: Generation) -> StreamFrames:
        """Return the frames of a streamed answer."""
        return StreamFrames(self, request)

    def event(self, request: Generation, choices: list[dict[str, Any]], **more: Any) -> bytes:
        """Return one server-sent event."""
        chat = request.endpoint is Endpoint.CHAT
        head = self._head("chat.completion.chunk" if chat else "text_completion", request)
        return b"data: " + json.dumps(head | {"choices": choices, **more}).encode() + b"\n\n"


class StreamFrames:
    """The bytes of one streamed answer, HTTP chunks included, prepared before the first token.

    All tokens have the same number of bytes, so a token's frame is a prefix, the word, a suffix.
    """

    __slots__ = ("_first", "_last", "_prefix", "_suffix")

    def __init__(self, answer: Answer, request: Generation) -> None:
        marker = _WORDS[0]
        event = answer.event(request, [_choice(request, marker, None)])
        before, _, after = _http_chunk(event).partition(marker.encode())
        self._prefix, self._suffix = before, after
        self._first = b""
        if request.endpoint is Endpoint.CHAT:
            role = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
            self._first = _http_chunk(answer.event(request, [role | {"finish_reason": None}]))
        final_word = _WORDS[(request.output_tokens - 1) % len(_WORDS)]
        last = answer.event(request, [_choice(request, final_word, request.finish_reason)])
        if request.include_usage:
            last += answer.event(request, [], usage=_usage(request))
        self._last = _http_chunk(last + b"data: [DONE]\n\n")

    def token(self, index: int) -> bytes:
        """Return the frame of token `index`, from 0; the first brings the role along."""
        frame = self._prefix + _WORD_BYTES[index % len(_WORD_BYTES)] + self._suffix
        return frame if index else self._first + frame

    def last(self, index: int) -> bytes:
        """Return the frame of the last token, with usage if asked for, and the end of the stream."""
        return self._last if index else self._first + self._last


_WORD_BYTES = tuple(word.encode() for word in _WORDS)


def _choice(request: Generation, word: str, finish_reason: str | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0}
    choice |= {"delta": {"content": word}} if request.endpoint is Endpoint.CHAT else {"text": word}
    choice |= {"logprobs": None, "finish_reason": finish_reason}
    return choice if finish_reason is None else choice | {"stop_reason": None}


def _usage(request: Generation) -> dict[str, Any]:
    return {
        "prompt_tokens": request.prompt_tokens,
        "total_tokens": request.prompt_tokens + request.output_tokens,
        "completion_tokens": request.output_tokens,
        "prompt_tokens_details": None,
    }


def _http_chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def models_body(engine: ServedEngine, root: str, created_s: int) -> bytes:
    """Return `/v1/models`: every served name, all for one checkpoint, and the adapters."""
    models = [
        {
            "id": name,
            "object": "model",
            "created": created_s,
            "owned_by": "vllm",
            "root": root,
            "parent": None,
            "max_model_len": engine.max_model_len,
        }
        for name in engine.names
    ]
    models += [
        {
            "id": name,
            "object": "model",
            "created": created_s,
            "owned_by": "vllm",
            "root": source,
            "parent": engine.names[0],
            "max_model_len": None,
        }
        for name, source in engine.adapters.items()
    ]
    return json.dumps({"object": "list", "data": models}).encode()
