"""How many replicas of what, and who sends them what share of its traffic.

Owns the sizing decision: `problem` -> `solve` -> `solution`, judged by `check`. Never decides on
which nodes replicas run (`place`), never looks at a clock. The formulation is
docs/design/0002-sizing-and-placement.md.

Nothing is imported here, so that `problem`, `solution` and `check` load without a solver.
"""
