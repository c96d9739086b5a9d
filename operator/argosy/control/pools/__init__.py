"""What keeps replicas off a pool's nodes, and the nodes that may still come to it."""
