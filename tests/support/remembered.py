"""What worlds were after they had settled, so that hundreds of tests that begin alike settle once.

Owns that memory, of this process. Decisions are pure: worlds that are equal settle alike.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable

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
