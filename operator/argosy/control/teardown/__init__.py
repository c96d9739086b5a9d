"""Removing all that Argosy made in a cluster: what is left, what goes next, and what users read of it."""
