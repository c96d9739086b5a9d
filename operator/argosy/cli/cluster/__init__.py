"""Commands that look at a cluster, or ask its operator for something, by kubeconfig."""
