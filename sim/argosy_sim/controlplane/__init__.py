"""The embedded control plane: a real Kubernetes API without Docker, cluster or root.

Four upstream programs (etcd, kube-apiserver, kube-controller-manager, kube-scheduler) run
as plain child processes on loopback, with certificates of their own and no fixed port, so
that any number of them run side by side.

    binaries      where the programs come from: the user's, the cache, or a build
    gobuild       builds them from pinned Go modules
    components    the command lines          state        what runs in a state directory
    cluster       `ControlPlane`: start, stop, restart the API server, restore etcd
    readiness     the checks of a starting API server
    backups       copies of etcd's data, taken and put back
    lifecycle     `up`, `down`, `status`: what `argosy sim` calls
    credentials/  certificates, kubeconfig files, ServiceAccount kubeconfigs (so that RBAC is always in force)
    host/         free loopback ports, locks, children that never outlive this process

Import the modules, not this package: it re-exports nothing, so that looking for binaries
does not load the Kubernetes client.
"""
