"""What the world is like now: usable nodes, owners of Deployments, silent engines, waiting replicas."""
