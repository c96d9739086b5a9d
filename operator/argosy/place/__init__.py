"""On which nodes the replicas of a plan run, and which pods go.

Owns placement: `problem` -> `solve` -> `solution`, judged by `check`. Never decides how many
replicas there are (`plan`) and never touches a pod.

Nothing is imported here, so that `problem`, `solution` and `check` load without a solver.
"""
