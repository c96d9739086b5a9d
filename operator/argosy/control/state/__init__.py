"""The state of the cluster: usable nodes, owners of Deployments, silent engines, waiting replicas."""
