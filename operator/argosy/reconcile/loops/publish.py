"""The publishing loop: compiles routes from the API server's objects and publishes them to Envoys.

Owns when this happens, and the copy of the snapshot on disk. Every replica of the operator does this,
leader or not: the xDS snapshot is a pure function of the API server's objects. What these name and do not
show stays as the snapshot before has it. Until the caches are complete a process serves the copy of its
last snapshot, if there is one of this cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from argosy.api import FleetPlan
from argosy.api.kinds import ROUTED
from argosy.control.picture.doubt import routes_doubt
from argosy.control.routes import route_inputs
from argosy.errors import InvariantError
from argosy.files.origin import foreign
from argosy.kube.identity import ClusterIdentity
from argosy.reconcile.clock import Clock
from argosy.reconcile.watch.snapshots import Snapshots
from argosy.route.compile import compile_routes
from argosy.route.table import FormerRoutes
from argosy.snapshot.fleet import EnvoyState, RoutingView
from argosy.xds import snapshot_file
from argosy.xds.server import AdsServer
from argosy.xds.snapshot import Snapshot

log = logging.getLogger(__name__)

SETTLE_S = 0.02
"""Changes that come together (a rollout's pods, a plan with its status) make one snapshot."""


class Publisher:
    """Publishes a new xDS snapshot whenever one of its inputs has changed."""

    def __init__(
        self, snapshots: Snapshots, ads: AdsServer, clock: Clock, state_dir: Path, cluster: ClusterIdentity
    ) -> None:
        self._snapshots, self._ads, self._clock = snapshots, ads, clock
        self._state_dir, self._cluster = state_dir, cluster
        self._copy: snapshot_file.SavedSnapshot | None = None
        self._changed = asyncio.Event()
        self._since_s = clock.now_s()
        self._published_s: float | None = None
        self._withheld = ""
        self._followed: FleetPlan | None = None

    def serve_copy(self) -> None:
        """Serve the last snapshot of the previous process until the caches are complete.

        One of another cluster is not served: its engines are not here. Where it is not known which cluster
        this is, the copy is served: while the API server is away, it is all that keeps Envoys going.
        """
        found = snapshot_file.load(self._state_dir, self._cluster.uid)
        if isinstance(found, snapshot_file.UnreadableSnapshot):
            log.warning("%s", found.message)
        elif found is not None:
            self._copy = found
            self._ads.publish(found.snapshot)
            version = found.snapshot.version
            log.info("serving the copy of xDS snapshot %s until the caches are complete", version)
            if not self._cluster.uid:
                log.warning(
                    "the copy is served without knowing that it is of this cluster: its own is %s, the"
                    " present one's uid could not be read: %s",
                    found.cluster or "not known",
                    self._cluster.why_unknown,
                )

    def learned_cluster(self) -> None:
        """It is known now which cluster this is: say if the copy is another's, and mark what was saved."""
        if self._copy is None:
            if self._ads.current is not None:
                self._save(self._ads.current)
        elif why := foreign(self._copy.cluster, self._cluster.uid):
            log.warning("Envoys have the copy of the routes until the caches are complete, but %s", why)

    def note(self, kind: str) -> None:
        """An object of this kind has changed."""
        if kind in ROUTED:
            self._changed.set()

    async def run(self, is_synced: Callable[[], bool]) -> None:
        """Publish until cancelled."""
        while True:
            await self._changed.wait()
            await self._clock.sleep(SETTLE_S)
            self._changed.clear()
            if is_synced():
                self.publish_now()

    def publish_now(self) -> None:
        """Compile and publish; after a failure, which is a bug of Argosy's, Envoys keep the last snapshot."""
        try:
            world = self._snapshots.stored(self._clock.now_s(), self._clock.monotonic_s())
            # Plans may be deleted: until another is applied, the last one's routes hold.
            self._followed = world.applied_plan or self._followed
            former = self._former() if world.seen.absent or world.seen.ended else None
            if self._is_withheld(routes_doubt(world, self._followed, former)):
                return
            snapshot = Snapshot.of_table(compile_routes(route_inputs(world, self._followed, former)))
        except Exception as error:
            log.error(
                "the routes were not published: %s", error, exc_info=not isinstance(error, InvariantError)
            )
            return
        before, self._copy = self._ads.current, None
        if self._ads.publish(snapshot):
            self._published_s = self._clock.now_s()
            # One line per revision; endpoints and weights change within it.
            is_new = before is None or before.revision != snapshot.revision
            log.log(logging.INFO if is_new else logging.DEBUG, "Envoys get routes %s", snapshot.version)
            self._save(snapshot)

    def _former(self) -> FormerRoutes | None:
        """What Envoys have, as far as this process knows: not where it is the copy of another cluster."""
        current = self._ads.current
        if current is None or (self._copy is not None and foreign(self._copy.cluster, self._cluster.uid)):
            return None
        return current.former

    def _is_withheld(self, why: str) -> bool:
        """Whether Envoys keep what they have, which is said once while it lasts."""
        if why and why != self._withheld:
            log.warning("the routes are not published anew, Envoys keep theirs: %s", why)
        self._withheld = why
        return bool(why)

    def _save(self, snapshot: Snapshot) -> None:
        try:
            snapshot_file.save(snapshot, self._state_dir, self._cluster.uid)
        except OSError as error:
            # Only a process that starts while the API server is away needs the copy.
            log.warning("the copy of the xDS snapshot was not written to %s: %s", self._state_dir, error)

    def own_envoys(self) -> tuple[EnvoyState, ...]:
        """The Envoys connected to this process, each with the versions that it acknowledged and refused."""
        return self._ads.envoys()

    def view(self, others: tuple[EnvoyState, ...]) -> RoutingView:
        """The published version and all Envoys; `others` are connected to other replicas of the operator."""
        current, shared = self._ads.current, {envoy.node_id for envoy in others if envoy.is_duplicate}
        own = tuple(
            replace(envoy, is_duplicate=True) if envoy.node_id in shared else envoy
            for envoy in self.own_envoys()
        )
        only_there = {envoy.node_id for envoy in others} - {envoy.node_id for envoy in own}
        envoys = (*own, *(envoy for envoy in others if envoy.node_id in only_there | shared))
        connected = {envoy.node_id for envoy in envoys}
        return RoutingView(
            version=current.version if current else "",
            envoys=tuple(sorted(envoys, key=lambda envoy: envoy.node_id)),
            endpoints_by_version=self._ads.endpoints_by_version(),
            gone_at_s={n: at_s for n, at_s in self._ads.gone_at_s.items() if n not in connected},
            gone_endpoints=self._ads.gone_endpoints,
            since_s=self._since_s,
            published_s=self._published_s,
        )
