"""vLLM's API for LoRA adapters: what an engine holds, load one, unload one.

Owns the requests, their time limits, and what is kept of an engine's words where it refuses. Input: an
engine's address. Output: nothing where it worked, else `EngineRefused`. Answers are vLLM's, 0.8 to 0.32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from argosy.control.adapters.steps import Load
from argosy.snapshot.adapters.record import MOST_WORDS

LOAD_LIMIT_S = 300.0
"""An adapter is downloaded first where its source is an id on Hugging Face."""
CALL_LIMIT_S = 10.0
MOST_BYTES = 1024 * 1024

_NO_API = (
    "its API to load adapters is off: it was started without VLLM_ALLOW_RUNTIME_LORA_UPDATING=True or without"
    " --enable-lora"
)


@dataclass(frozen=True, slots=True)
class EngineRefused:
    """That an engine did not do it: its words, or what came in place of an answer.

    answered: False where it may answer the next time
    """

    words: str
    answered: bool = True


class EngineApi:
    """Asks engines. Needs a running event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def held(self, address: str) -> Mapping[str, str] | EngineRefused:
        """The adapters that it holds, with their sources."""
        answer = await self._ask("GET", address, "/v1/models", None, CALL_LIMIT_S)
        if isinstance(answer, EngineRefused):
            return answer
        try:
            cards = json.loads(answer)["data"]
            return {str(each["id"]): str(each["root"]) for each in cards if each.get("parent")}
        except (ValueError, KeyError, TypeError, AttributeError):
            return EngineRefused("its list of models cannot be read")

    async def load(self, address: str, load: Load) -> EngineRefused | None:
        """Load an adapter; one of its name that is there already is replaced."""
        body: dict[str, Any] = {"lora_name": load.name, "lora_path": load.source}
        in_place = {**body, "load_inplace": True}
        first = in_place if load.in_place else body
        answer = await self._ask("POST", address, "/v1/load_lora_adapter", first, LOAD_LIMIT_S)
        if isinstance(answer, EngineRefused) and "already been loaded" in answer.words:
            # As after a leader that ended between the load and its record.
            answer = await self._ask("POST", address, "/v1/load_lora_adapter", in_place, LOAD_LIMIT_S)
        return answer if isinstance(answer, EngineRefused) else None

    async def unload(self, address: str, name: str) -> EngineRefused | None:
        """Unload an adapter; one that is not there counts as unloaded."""
        body = {"lora_name": name}
        answer = await self._ask("POST", address, "/v1/unload_lora_adapter", body, CALL_LIMIT_S)
        if isinstance(answer, EngineRefused) and "cannot be found" not in answer.words:
            return answer
        return None

    async def _ask(
        self, method: str, address: str, path: str, body: object, limit_s: float
    ) -> bytes | EngineRefused:
        timeout = aiohttp.ClientTimeout(total=limit_s, connect=CALL_LIMIT_S)
        try:
            url = f"http://{address}{path}"
            async with self._open().request(method, url, json=body, timeout=timeout) as response:
                text = await response.content.read(MOST_BYTES)
                return text if response.status == HTTPStatus.OK else _refused(response.status, text)
        except TimeoutError:
            return EngineRefused(f"it did not answer within {limit_s:g} s", answered=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return EngineRefused(f"it cannot be reached: {error}"[:MOST_WORDS], answered=False)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        return self._session


def _refused(status: int, body: bytes) -> EngineRefused:
    """OpenAI's shape has the words; for a path that it does not have, an engine answers `Not Found`."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    error = found.get("error") if isinstance(found, dict) else None
    words = str(error.get("message") or "") if isinstance(error, dict) else ""
    if status == HTTPStatus.NOT_FOUND and words in ("", "Not Found"):
        return EngineRefused(_NO_API)
    if words:
        return EngineRefused(words[:MOST_WORDS])
    text = body.decode(errors="replace").strip()
    return EngineRefused(f"status {status}: {text}"[:MOST_WORDS])
