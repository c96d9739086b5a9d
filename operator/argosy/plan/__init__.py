"""How many replicas of what, and which share of each cell they carry.

Owns the sizing decision: `problem` -> `solve` -> `solution`, judged by `check`. On which nodes the
replicas run is decided by `argosy.place`. The formulation is
docs/design/0002-sizing-and-placement.md.

Nothing is imported here, so that `problem`, `solution` and `check` load without a solver.
"""
