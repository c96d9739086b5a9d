"""The simulations of `argosy.engine`, compiled, under the same names.

`run` packs and unpacks arrays; `kernel`, `sequences` and `steps` are the compiled code, `layout` the
order of its arrays. Importing this package does not import numba; the first simulation does.
"""

from argosy.engine.twin.run import (
    EngineRun,
    EngineTotals,
    RowTimes,
    simulate,
    simulate_loop,
    simulate_row,
    warm_up,
)

__all__ = [
    "EngineRun",
    "EngineTotals",
    "RowTimes",
    "simulate",
    "simulate_loop",
    "simulate_row",
    "warm_up",
]
