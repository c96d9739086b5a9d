"""The live fleet: simulated GPU nodes in a real API server, and the engines that run on them.

    spec          what the fleet consists of (YAML)
    addresses     a block of loopback addresses and an engine port, claimed by binding
    state         what a running fleet records for other processes: pid, port, block
    kubelet/      the virtual kubelet: nodes, the pods bound to them, their workers and logs
    vllm/         simulated vLLM servers
    event_log     what happened when, in JSON lines
    control       `kill_node`, `revive_node`, `crash_pod`, `fleet_status` over a socket
    process       `python -m argosy_sim.livefleet`

One process, one event loop, any number of replicas. How an engine schedules is not here:
`argosy.engine` decides, `vllm.driver` only waits.
"""
