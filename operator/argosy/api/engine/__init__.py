"""What `spec.engine` has beside the limits of vLLM: the pod, its volumes, a patch, flags by version."""
