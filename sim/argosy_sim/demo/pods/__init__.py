"""The story on a cluster in which Argosy is installed: its operator and Envoys, simulated engines as pods."""
