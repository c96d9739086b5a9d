"""Owns the OpenAI protocol of one simulated vLLM: request bodies in, answers and frames out.

Pure: sockets are `server`'s, times are `driver`'s, lengths and blocks of prompts `prompt`'s. A prompt's
tokens are its UTF-8 bytes divided by four, rounded up, and every generated token is four bytes of text: a
conversation that is sent back with its answers counts them as before.

With `ignore_eos` the answer has `max_tokens` tokens; without, a length that depends on the
prompt alone (at most 512), so that the same trace gives the same fleet the same work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from argosy.engine import PromptPrefix
from argosy_sim.livefleet.vllm.prompt import Prompt

NATURAL_LENGTH_TOKENS = 512
_LONGEST_SALT = 128
_COMPLETIONS_DEFAULT_MAX_TOKENS = 16  # OpenAI's, and vLLM's, for /v1/completions

_WORDS = (" the", " sea", " and", " oak", " was", " red", " for", " sun", " all", " day", " are", " one")


class Endpoint(StrEnum):
    """The two ways to ask for text."""

    CHAT = "/v1/chat/completions"
    TEXT = "/v1/completions"


@dataclass(frozen=True, slots=True)
class ServedEngine:
    """What a request is checked against.

    adapters:      LoRA adapters that it holds, with their sources
    shared_blocks: the block size in tokens where prompts share KV blocks; 0: no prefix cache
    details:       whether `usage` has `prompt_tokens_details`
    """

    names: tuple[str, ...]
    max_model_len: int
    adapters: Mapping[str, str] = field(default_factory=dict)
    shared_blocks: int = 0
    details: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """A valid request. Lengths in tokens; `output_tokens` is what will be generated.

    prefix: the blocks that other prompts may have, too. details: as of `ServedEngine`.
    """

    endpoint: Endpoint
    model: str
    prompt_tokens: int
    max_tokens: int
    output_tokens: int
    stream: bool
    include_usage: bool
    prefix: PromptPrefix | None = None
    details: bool = False

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
    salt = _cache_salt(fields)
    prompt = _chat_prompt(fields) if endpoint is Endpoint.CHAT else _text_prompt(fields)
    prompt_tokens = prompt.num_tokens
    max_tokens = _max_tokens(endpoint, fields, engine.max_model_len - prompt_tokens)
    _require_room(prompt_tokens, max_tokens, engine.max_model_len)
    natural = 1 + prompt.digest % NATURAL_LENGTH_TOKENS
    owner = (model, engine.adapters[model], salt) if model in engine.adapters else ("", "", salt)
    options = fields.get("stream_options") or {}
    return Generation(
        endpoint=endpoint,
        model=model,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        output_tokens=max_tokens if fields.get("ignore_eos") is True else min(max_tokens, natural),
        stream=fields.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        prefix=prompt.prefix(engine.shared_blocks, owner) if engine.shared_blocks else None,
        details=engine.details,
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


def _cache_salt(fields: Mapping[str, Any]) -> str:
    """Refused as vLLM's `validate_cache_salt` does."""
    salt = fields.get("cache_salt")
    if salt is None:
        return ""
    needed = ""
    if not isinstance(salt, str) or not salt:
        needed = "a non-empty string if provided."
    elif len(salt) > _LONGEST_SALT or any(each in salt for each in "@/\\\0"):
        needed = f"at most {_LONGEST_SALT} characters and must not contain '@', '/', '\\\\', or NUL."
    if needed:
        raise _Refusal(bad_request(f"Parameter 'cache_salt' must be {needed}", "cache_salt"))
    return str(salt)


def _chat_prompt(fields: Mapping[str, Any]) -> Prompt:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _Refusal(bad_request("messages must be a list of at least one message", "messages"))
    # A chat template writes the tools in front.
    tools = json.dumps(fields["tools"]) if fields.get("tools") else ""
    return Prompt.of_parts([(tools, ""), *(part for message in messages for part in _parts(message))])


def _parts(message: object) -> Iterator[tuple[str, str]]:
    """All of a message that a chat template writes, as `Prompt.of_parts` wants it."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _Refusal(bad_request("a message is an object with a role", "messages"))
    content = message.get("content")
    beside = json.dumps({name: value for name, value in message.items() if name != "content"})
    yield beside, content if isinstance(content, str) else ""
    if isinstance(content, list):
        for part in content:
            is_text = isinstance(part, dict) and isinstance(part.get("text"), str)
            yield ("", part["text"]) if is_text else (json.dumps(part), "")
    elif content is not None and not isinstance(content, str):
        raise _Refusal(bad_request("a message's content is a string or a list of parts", "messages"))


def _text_prompt(fields: Mapping[str, Any]) -> Prompt:
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return Prompt.of_parts([("", prompt)])
    if isinstance(prompt, list) and prompt and all(isinstance(token, int) for token in prompt):
        return Prompt.of_ids(prompt)
    raise _Refusal(bad_request("prompt must be one string, or one list of token ids", "prompt"))


def text_of(num_tokens: int) -> str:
    """Return the text of an answer's first tokens."""
    rounds, rest = divmod(num_tokens, len(_WORDS))
    return "".join(_WORDS) * rounds + "".join(_WORDS[:rest])


@dataclass(frozen=True, slots=True)
class Answer:
    """What identifies one answer: id and Unix time in seconds."""

    id: str
    created_s: int

    def whole(self, request: Generation, cached_tokens: int = 0) -> bytes:
        """Return the body of an answer that is not streamed. cached_tokens: of the prompt, found"""
        text = text_of(request.output_tokens)
        choice: dict[str, Any] = {"index": 0}
        if request.endpoint is Endpoint.CHAT:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": request.finish_reason, "stop_reason": None}
        object_name = "chat.completion" if request.endpoint is Endpoint.CHAT else "text_completion"
        body = self._head(object_name, request) | {"choices": [choice]}
        body["usage"] = _usage(request, cached_tokens)
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

    __slots__ = ("_answer", "_first", "_prefix", "_request", "_suffix")

    def __init__(self, answer: Answer, request: Generation) -> None:
        self._answer, self._request = answer, request
        marker = _WORDS[0]
        event = answer.event(request, [_choice(request, marker, None)])
        before, _, after = _http_chunk(event).partition(marker.encode())
        self._prefix, self._suffix = before, after
        self._first = b""
        if request.endpoint is Endpoint.CHAT:
            role = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
            self._first = _http_chunk(answer.event(request, [role | {"finish_reason": None}]))

    def token(self, index: int) -> bytes:
        """Return the frame of token `index`, from 0; the first brings the role along."""
        frame = self._prefix + _WORD_BYTES[index % len(_WORD_BYTES)] + self._suffix
        return frame if index else self._first + frame

    def last(self, index: int, cached_tokens: int = 0) -> bytes:
        """Return the frame of the last token, with usage if asked for, and the end of the stream."""
        answer, request = self._answer, self._request
        word = _WORDS[index % len(_WORDS)]
        events = answer.event(request, [_choice(request, word, request.finish_reason)])
        if request.include_usage:
            events += answer.event(request, [], usage=_usage(request, cached_tokens))
        last = _http_chunk(events + b"data: [DONE]\n\n")
        return last if index else self._first + last


_WORD_BYTES = tuple(word.encode() for word in _WORDS)


def _choice(request: Generation, word: str, finish_reason: str | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0}
    choice |= {"delta": {"content": word}} if request.endpoint is Endpoint.CHAT else {"text": word}
    choice |= {"logprobs": None, "finish_reason": finish_reason}
    return choice if finish_reason is None else choice | {"stop_reason": None}


def _usage(request: Generation, cached_tokens: int) -> dict[str, Any]:
    # 0.32 reports a prompt of which nothing was found, too; what only 0.32 counts besides is left out.
    details = {"cached_tokens": cached_tokens} if request.details else None
    return {
        "prompt_tokens": request.prompt_tokens,
        "total_tokens": request.prompt_tokens + request.output_tokens,
        "completion_tokens": request.output_tokens,
        "prompt_tokens_details": details,
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
