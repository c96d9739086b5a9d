"""What worlds were after they had settled, so that hundreds of tests that begin alike settle once.

Owns that memory, of this process, and which seconds may pass at once. Decisions are pure: worlds that are
equal settle alike.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

MOST = 200

_AFTER: dict[bytes, bytes] = {}
"""By what a world was before."""


def settle_once(world: object, limit_s: float, settle: Callable[[float], None]) -> None:
    """Call `settle(limit_s)`, which changes only the world, or give the world what that led to before."""
    before = pickle.dumps((vars(world), limit_s))
    if before in _AFTER:
        vars(world).update(pickle.loads(_AFTER[before]))
        return
    settle(limit_s)
    if len(_AFTER) < MOST:
        _AFTER[before] = pickle.dumps(vars(world))


def uneventful_s(world: Any, load_s: float) -> int:
    """Seconds until something happens where pods only load or drain; 1 where any other clock runs."""
    out = (world.silent, world.unknown, world.dead_nodes, world.broken_deployments)
    unbound = any(not pod.node and not pod.deleting for pod in world.pods.values())
    if any(out) or unbound or world.is_deaf or world.is_envoy_frozen:
        return 1
    loading = {key for key, pod in world.pods.items() if not pod.ready}
    at_s = [at_s + load_s for key, at_s in world._bound_at_s.items() if key in loading]
    later = [each for each in (*at_s, *world._gone_at_s.values()) if each > world.now_s]
    return max(1, math.ceil(min(later) - world.now_s)) if later else 1
