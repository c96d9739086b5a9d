"""Which cluster a file of the state directory is of.

Owns the comparison, and its sentence. Input: the cluster that a file names, and the one that this process
serves, both as the uid of the namespace kube-system and empty where it is not known. Output: why the file
is not used; empty where it may be.
"""

from __future__ import annotations


def foreign(stored: str, present: str) -> str:
    """Why a file of the cluster `stored` is not used in `present`; what is not known is no reason."""
    if not stored or not present or stored == present:
        return ""
    return (
        f"it is of the cluster whose namespace kube-system has the uid {stored}, and this process serves the"
        f" one with {present}; give the operator of each cluster a --state-dir of its own"
    )
