"""On which nodes the replicas of a plan run, and which pods go.

Owns placement: `problem` -> `solve` -> `solution`, judged by `check`. How many replicas there are is
decided by `argosy.plan`. The formulation is section 3 of docs/design/0002-sizing-and-placement.md.

Nothing is imported here, so that `problem`, `solution` and `check` load without a solver.
"""
