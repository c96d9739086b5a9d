"""A simulated vLLM engine as a container's process, for clusters with a kubelet of their own."""
