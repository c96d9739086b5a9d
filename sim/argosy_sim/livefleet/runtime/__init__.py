"""The container runtime of the simulated nodes: what runs an engine's container.

contract     what the kubelet asks of a runtime and of an engine that it has started
simulated    an engine in this process, on `argosy.engine`'s clock
program      a container's own command as a program of this host (pure)
process      that program, really run: vLLM itself
installation      vLLM for CPUs in the user cache, and a tiny model
container_init    the first process of such a container
"""
