"""Whose number of replicas a Deployment has."""
