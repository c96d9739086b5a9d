"""Deployments that users run and let Argosy adopt."""
