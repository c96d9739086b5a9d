"""Deployments that were edited by hand: what was changed, setting it back, and what users read of it."""
