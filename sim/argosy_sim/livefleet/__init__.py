"""The live fleet: simulated GPU nodes in a real API server, and the engines that run on them.

    spec          what the fleet consists of (YAML)
    addresses     a block of loopback addresses and an engine port, claimed by binding
    state         what a running fleet records for other processes: pid, port, block
    nodes         Node objects, their status, their heartbeats
    kubelet       the virtual kubelet: which pods are on the fleet's nodes, and their workers
    pod_worker    one pod from binding to deletion       pod_status  what it reports
    kube_api      the API calls that all this needs
    container_logs, log_endpoint     files, and HTTPS for `kubectl logs`
    event_log     what happened when, in JSON lines
    vllm_args     vLLM's command line    profiles  what engine such a line gives on a GPU
    vllm_server   one simulated vLLM: HTTP      driver  its engine against the clock
    openai_api    requests in, frames out       vllm_metrics  `/metrics`
    control       `kill_node`, `crash_pod`, `fleet_status` over a socket
    process       `python -m argosy_sim.livefleet`

One process, one event loop, any number of replicas. How an engine schedules is not here:
`argosy.engine` decides, `driver` only waits.
"""
