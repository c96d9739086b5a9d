"""Owns the command lines of the four components.

Everything listens on 127.0.0.1 only. etcd speaks plain HTTP there, as under envtest: the data of a
temporary fleet does not need a second set of certificates.
"""

from __future__ import annotations

from argosy_sim.controlplane.host.ports import LOOPBACK
from argosy_sim.controlplane.state import ControlPlaneState, Layout

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
AUDIT = "audit"
"""Where the requests are that the API server was asked to record: one JSON object per line."""

# An API server whose etcd ended first was observed to ignore SIGTERM for minutes.
STOP_ORDER = (SCHEDULER, CONTROLLER_MANAGER, API_SERVER, ETCD)

# Only what a fleet needs: with all of them the default service account, without which no pod
# can be created, comes 5 s after /readyz instead of 2 s.
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "taint-eviction-controller",
)


def command(component: str, layout: Layout, state: ControlPlaneState) -> list[str]:
    """Return a component's program and arguments."""
    arguments = {
        ETCD: _etcd,
        API_SERVER: _api_server,
        CONTROLLER_MANAGER: _controller_manager,
        SCHEDULER: _scheduler,
    }[component](layout, state)
    program = getattr(state.binaries, component.replace("-", "_"))
    return [str(program), *arguments]


def _etcd(layout: Layout, state: ControlPlaneState) -> list[str]:
    client = f"http://{LOOPBACK}:{state.ports.etcd_client}"
    peer = f"http://{LOOPBACK}:{state.ports.etcd_peer}"
    return [
        "--name=argosy",
        f"--data-dir={layout.etcd}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=argosy={peer}",
        # The fleet is thrown away with its directory; a crash of the machine ends it anyway.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(layout: Layout, state: ControlPlaneState) -> list[str]:
    return [
        f"--etcd-servers=http://{LOOPBACK}:{state.ports.etcd_client}",
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={state.ports.api_server}",
        # The `kubernetes` Service cannot have a loopback endpoint.
        "--endpoint-reconciler-type=none",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--profiling=false",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--client-ca-file={layout.exported('ca.crt')}",
        f"--tls-cert-file={layout.pki('api-server.crt')}",
        f"--tls-private-key-file={layout.pki('api-server.key')}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={layout.pki('service-account.key')}",
        f"--service-account-signing-key-file={layout.pki('service-account.key')}",
        # Without these the controller manager logs an error every ten seconds.
        f"--requestheader-client-ca-file={layout.pki('front-proxy-ca.crt')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        # `kubectl logs` and `exec`: the API server calls the kubelet at its node's address, and
        # each side identifies itself with a certificate of the control plane's authority.
        f"--kubelet-client-certificate={layout.pki('api-server-to-kubelet.crt')}",
        f"--kubelet-client-key={layout.pki('api-server-to-kubelet.key')}",
        f"--kubelet-certificate-authority={layout.exported('ca.crt')}",
        "--kubelet-preferred-address-types=InternalIP",
        *_audit(layout),
    ]


def _audit(layout: Layout) -> list[str]:
    if not layout.audit_policy.exists():
        return []
    return [f"--audit-policy-file={layout.audit_policy}", f"--audit-log-path={layout.log(AUDIT)}"]


def _controller_manager(layout: Layout, state: ControlPlaneState) -> list[str]:
    del state
    return [
        f"--kubeconfig={layout.pki('kube-controller-manager.kubeconfig')}",
        f"--controllers={','.join(CONTROLLERS)}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={layout.pki('service-account.key')}",
        f"--root-ca-file={layout.exported('ca.crt')}",
        "--leader-elect=false",
        # A silent node is NotReady after 8 s (upstream: 40 s): stories about node loss stay short.
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=8s",
        # An autoscaler acts within 2 s (upstream: 15 s), for the same reason.
        "--horizontal-pod-autoscaler-sync-period=2s",
        "--secure-port=0",
        "--profiling=false",
    ]


def _scheduler(layout: Layout, state: ControlPlaneState) -> list[str]:
    del state
    return [
        f"--kubeconfig={layout.pki('kube-scheduler.kubeconfig')}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]
