"""The files that ServedModels name as their profiles, read from ConfigMaps.

Owns the operator's copy of those files (`control.candidates.profiles` reads their contents). Each
named ConfigMap is fetched by its name before every decision, and none is listed or watched: a cluster
has thousands that are not Argosy's. A file is missing only where the API server answers that it does
not exist: while it does not answer, the last copy is used, and a file without a copy is unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from argosy.errors import ActuationError
from argosy.keys import NamespacedName
from argosy.kube.api import CONFIGMAPS, ApiServer
from argosy.reconcile.clock import Clock
from argosy.reconcile.reporting.troubles import Troubles
from argosy.snapshot.fleet import ProfileFileKey
from argosy.snapshot.kubernetes import config_map_files

FIRST_ATTEMPTS = 3
RETRY_S = 0.5
"""A file without a copy is fetched again: a decision without it may move replicas for no reason."""

CONFIG_MAP = "ConfigMap "
"""The troubles of ConfigMaps are named by it and the ConfigMap."""


@dataclass(frozen=True, slots=True)
class ProfileFilesView:
    """The input of decisions: the contents, and the files that could not be read yet with the reason."""

    files: Mapping[ProfileFileKey, bytes] = field(default_factory=dict)
    unread: Mapping[ProfileFileKey, str] = field(default_factory=dict)


class ProfileFiles:
    """A copy of the named files; `refresh` updates it."""

    def __init__(self, api: ApiServer, clock: Clock, troubles: Troubles) -> None:
        self._api, self._clock, self._troubles = api, clock, troubles
        self._seen: dict[ProfileFileKey, bytes | None] = {}
        """None: the API server answered that the file does not exist."""
        self._unread: dict[ProfileFileKey, str] = {}

    @property
    def view(self) -> ProfileFilesView:
        """As of the last refresh."""
        found = {file: content for file, content in self._seen.items() if content is not None}
        return ProfileFilesView(found, dict(self._unread))

    async def refresh(self, named: Callable[[], frozenset[ProfileFileKey]]) -> tuple[str, ...]:
        """Fetch every named file; returns the ConfigMaps (`namespace/name`) that changed since the last time.

        A file that is named while it waits for the API server is fetched too; a file that is no longer
        named is dropped.
        """
        before, asked = dict(self._seen), frozenset[ProfileFileKey]()
        self._unread.clear()
        while waiting := named() - asked:
            by_config_map: dict[str, list[ProfileFileKey]] = {}
            for file in sorted(waiting):
                by_config_map.setdefault(_config_map(file), []).append(file)
            await asyncio.gather(*(self._read(name, files) for name, files in by_config_map.items()))
            asked |= waiting
        wanted = named()
        self._seen = {file: content for file, content in self._seen.items() if file in wanted}
        self._unread = {file: problem for file, problem in self._unread.items() if file in wanted}
        self._troubles.keep_only(CONFIG_MAP, frozenset(f"{CONFIG_MAP}{_config_map(f)}" for f in wanted))
        changed = {f for f, content in self._seen.items() if f in before and before[f] != content}
        return tuple(sorted({_config_map(file) for file in changed}))

    async def _read(self, config_map: str, files: list[ProfileFileKey]) -> None:
        """One GET for all files of a ConfigMap."""
        attempts = 1 if all(file in self._seen for file in files) else FIRST_ATTEMPTS
        for attempt in range(attempts):
            if attempt:
                await self._clock.sleep(RETRY_S)
            try:
                found = await self._api.find(CONFIGMAPS, config_map)
            except ActuationError as error:
                problem = str(error)
                continue
            contents = config_map_files(found or {})
            self._seen.update({file: contents.get(file.key) for file in files})
            return self._troubles.succeeded(f"{CONFIG_MAP}{config_map}")
        sentence = f"it was not read, its last copy is used: {problem}"
        self._troubles.failed(f"{CONFIG_MAP}{config_map}", sentence, is_readiness=False)
        self._unread.update({file: problem for file in files if file not in self._seen})


def _config_map(file: ProfileFileKey) -> str:
    return NamespacedName.of(file.namespace, file.config_map)
