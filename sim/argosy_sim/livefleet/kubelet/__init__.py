"""The virtual kubelet: the fleet's nodes in the API server, and a worker for each pod bound to one of them.

nodes         Node objects, their status, their heartbeats
kubelet       which pods are on the fleet's nodes, and their workers
pod_worker    one pod from binding to deletion       pod_status  what it reports
kube_api      the API calls that all this needs
container_logs, log_endpoint     files, and HTTPS for `kubectl logs`
"""
