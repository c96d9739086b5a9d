"""When an engine is busy, silent or dead: the one definition.

Owns the numbers. Envoy's health checks (`xds`), the kubelet's probes (`manifests`), the scrape's
time-outs (`telemetry`) and what the planner counts as capacity (`control.state.silence`) follow from
them. No input; output: constants and the durations derived from them.

    busy    answers late, or only some of those that ask it: it counts as capacity, nothing replaces it
            more than 5 s late it gets no new requests, and finishes those that it has
    dead    refuses connections: it takes no requests; its kubelet restarts it
    silent  has answered nothing for `SILENT_AFTER_S`, neither the scrape nor Envoy's health checks nor
            requests: its capacity is lost

Several engines that stop at the same moment are *in doubt* first: that is more often a network, a
paused hypervisor or a measuring fault than as many dead engines.
"""

from __future__ import annotations

HEALTH_PATH = "/health"

HEALTH_TIMEOUT_S = 5.0
"""An engine that answers `/health` within this time stays in rotation and Ready. A saturated vLLM
answers in 1.5 s (its event loop is shared with the streams); with a second it got no requests at all."""

HEALTH_INTERVAL_S = 1.0
"""Time between an answer and Envoy's next check: a new replica gets requests within it."""

ROTATION_INTERVAL_S = HEALTH_INTERVAL_S / 2
"""The same for the check that decides about new requests. With it, a dead engine gets none by the time the
check that closes its connections fails: those that are then tried again do not come back to it."""

UNHEALTHY_AFTER = 2
"""Failed checks in a row, so that one lost packet costs nothing."""

DEATH_TIMEOUT_S = UNHEALTHY_AFTER * (ROTATION_INTERVAL_S + HEALTH_TIMEOUT_S)
"""An engine that answers `/health` within these 11 s keeps its requests in flight, also while it is too late
for new ones. No longer than two checks of the rotation take: a dead engine's streams end as early."""

ENVOY_EJECTS_AFTER_S = UNHEALTHY_AFTER * (HEALTH_INTERVAL_S + HEALTH_TIMEOUT_S)
"""Envoy takes a frozen engine out of rotation after at most 12 s."""

READING_S = 2.0
"""Time between two readings of the traffic loop at its default, `intervals.fastSeconds`."""

SILENT_AFTER_S = ENVOY_EJECTS_AFTER_S + 1.5 * READING_S
"""15 s: Envoy has tried for 12 s, and one reading has shown that. An engine that needs 8 s for an
answer is far from it; one more GPU is worth waiting for these seconds, and users do not wait: Envoy
sends their requests elsewhere."""

SCRAPE_PATIENCE_S = 1.0
"""A reading waits so long for an engine; a later answer counts in a later reading, so that a slow
engine is known to answer and does not hold up the weights of the others."""

SCRAPE_TIMEOUT_S = 2.0 * SILENT_AFTER_S
"""A scrape is given up after this: an engine that needs as long has been silent before."""

DEAD_AFTER_S = 3.0
"""Two scrapes in a row were refused: no busy engine refuses. It then takes no requests; its capacity
is lost only after `SILENT_AFTER_S`, because its kubelet starts it again within seconds."""

SAME_MOMENT_S = 10.0
"""Engines whose last answers are no further apart stopped together: a frozen engine's scrape may have
begun one reading later than another's, and a slow one's several."""

MANY_ENGINES = 3
MANY_SHARE = 0.5
"""So many engines, and this share (0-1) of all that are asked, are a large part of the fleet."""

DOUBT_FROM_S = HEALTH_TIMEOUT_S
"""Engines that stopped together are in doubt from here on: each of them may still be busy before."""

DOUBT_UNTIL_S = 60.0
"""Engines in doubt that have answered nothing for so long are silent. Longer than a live migration, a
switch that restarts or a node's missed heartbeats (40 s) take; shorter than loading a fleet anew."""

UNREAD_AFTER_S = 60.0
"""Where no engine, or no Envoy, could be read for so long, telemetry is lost: longer than one of them
takes to start again."""

ENVOY_FRESH_S = 10.0
"""Envoy's word is used while it is younger than five readings."""

READINESS_PERIOD_S = 2
"""The kubelet's readiness probe follows Envoy's check: same time-out, same number of failures."""

LIVENESS_TIMEOUT_S = 30
LIVENESS_PERIOD_S = 10
LIVENESS_FAILURES = 3
"""The kubelet restarts an engine, and cuts its streams, only after three answers that each took longer
than 30 s: far beyond busy. A process that refuses ends its container by itself."""
