"""What Argosy reads from files and keeps in files.

`objects` reads Kubernetes objects into a FleetSnapshot, for every command that works without a cluster;
`capacities`, `calibrations` and `surfaces` keep what is expensive to compute or to learn; `atomic` is the
one way in which any of them is written.
"""
