"""What the demo's evidence amounts to: attribution, shocks, new replicas, cost, promises. Pure."""
