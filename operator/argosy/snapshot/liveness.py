"""When an engine counts as dead: the one definition.

Owns the numbers; Envoy's health checks follow from them.
"""

from __future__ import annotations

HEALTH_TIMEOUT_S = 5.0
"""An engine that answers `/health` within this time is alive, however busy."""

HEALTH_INTERVAL_S = 1.0
"""Time between an answer and the next check."""

UNHEALTHY_AFTER = 2
"""Failed checks in a row. A frozen engine is found after at most 2 x (interval + time-out) = 12 s."""
