"""Argosy keeps a mixed fleet of GPUs serving LLMs at the lowest cost that meets every promise."""

__version__ = "0.1.0"
