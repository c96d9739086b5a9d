"""Argosy's simulated side: the embedded control plane, the live fleet, traffic and the demo."""
