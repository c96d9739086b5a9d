"""What the cluster does not admit: which replicas, by which object, and what planning makes of it."""
