"""What an API server and a scheduler say of a pod that they do not take: one sentence names the object."""

from __future__ import annotations

import pytest

from argosy.snapshot.admission.quantity import thousandths
from argosy.snapshot.admission.quotas import limit_range_state, quota_state
from argosy.snapshot.admission.scheduling import scheduling_refusal, scheduling_words
from argosy.snapshot.admission.words import MOST_TEXT, ClusterRefusal, Refuser, cluster_refusal

QUOTA = (
    'pods "a-1" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, used:'
    " requests.nvidia.com/gpu=7, limited: requests.nvidia.com/gpu=8"
)
SECURITY = (
    'pods "a-1" is forbidden: violates PodSecurity "restricted:v1.30": allowPrivilegeEscalation != false'
    ' (container "engine" must set securityContext.allowPrivilegeEscalation=false)'
)
MESSAGES = [
    pytest.param(
        QUOTA, Refuser.QUOTA, "ResourceQuota ns/gpus", "requested: requests.nvidia.com/gpu=2", id="quota"
    ),
    pytest.param(
        'deployments.apps "a" is forbidden: exceeded quota: objects, requested: count/deployments.apps=1,'
        " used: count/deployments.apps=3, limited: count/deployments.apps=3",
        Refuser.QUOTA,
        "ResourceQuota ns/objects",
        "count/deployments.apps=1",
        id="a quota on Deployments",
    ),
    pytest.param(
        'pods "a" is forbidden: failed quota: cpu: must specify limits.cpu for: engine; requests.cpu for: e',
        Refuser.QUOTA,
        "ResourceQuota ns/cpu",
        "pods must specify limits.cpu for: engine; requests.cpu for: e",
        id="a quota on what the pod does not say",
    ),
    pytest.param(
        'pods "a-1" is forbidden: insufficient quota to match these scopes: [{PriorityClass In [high]}]',
        Refuser.QUOTA,
        "The limited admission of ResourceQuota in namespace ns",
        "no quota matches the scopes [{PriorityClass In [high]}]",
        id="limited admission",
    ),
    pytest.param(
        'pods "a-1" is forbidden: [maximum cpu usage per Container is 1, but limit is 8, maximum memory usage'
        " per Container is 1Gi, but limit is 64Gi]",
        Refuser.LIMIT_RANGE,
        "A LimitRange of namespace ns",
        "maximum memory usage per Container is 1Gi, but limit is 64Gi",
        id="two bounds of a LimitRange",
    ),
    pytest.param(
        'pods "a-1" is forbidden: minimum memory usage per Pod is 1Gi.  No request is specified',
        Refuser.LIMIT_RANGE,
        "A LimitRange of namespace ns",
        "minimum memory usage per Pod is 1Gi. No request is specified",
        id="the least of a LimitRange",
    ),
    pytest.param(
        'pods "a" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 4.0',
        Refuser.LIMIT_RANGE,
        "A LimitRange of namespace ns",
        "provided ratio is 4.0",
        id="a ratio of a LimitRange",
    ),
    pytest.param(
        SECURITY,
        Refuser.POD_SECURITY,
        "Pod Security restricted:v1.30 of Namespace ns",
        "must set securityContext.allowPrivilegeEscalation=false)",
        id="Pod Security",
    ),
    pytest.param(
        'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource Pod/ns/a was blocked',
        Refuser.WEBHOOK,
        "Admission webhook validate.kyverno.svc-fail",
        "resource Pod/ns/a was blocked",
        id="a webhook",
    ),
    pytest.param(
        'admission webhook "silent.example.com" denied the request without explanation',
        Refuser.WEBHOOK,
        "Admission webhook silent.example.com",
        "it gives no reason",
        id="a webhook without a word",
    ),
    pytest.param(
        'Internal error occurred: failed calling webhook "gone.example.com": failed to call webhook: Post'
        ' "https://gone.x.svc:443/mutate?timeout=10s": no endpoints available for service "gone"',
        Refuser.WEBHOOK,
        "Admission webhook gone.example.com",
        "it does not answer",
        id="a webhook that is away",
    ),
    pytest.param(
        "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'team' with binding 'a' denied request: no team",
        Refuser.POLICY,
        "ValidatingAdmissionPolicy team",
        "no team",
        id="a policy",
    ),
    pytest.param(
        "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'team' denied request: no parameters",
        Refuser.POLICY,
        "ValidatingAdmissionPolicy team",
        "no parameters",
        id="a policy that cannot be used",
    ),
    pytest.param(
        'pods "a" is forbidden: error looking up service account ns/e: serviceaccount "e" not found',
        Refuser.MISSING,
        "The API server",
        'serviceaccount "e" not found',
        id="a service account that is missing",
    ),
    pytest.param(
        'pods "a-1" is forbidden: no PriorityClass with name high was found',
        Refuser.MISSING,
        "The API server",
        "no PriorityClass with name high was found",
        id="a priority class that is missing",
    ),
    pytest.param(
        'Failed to create new replica set "a-5d": replicasets.apps "a-5d" is forbidden: exceeded quota: sets,'
        " requested: count/replicasets.apps=1, used: count/replicasets.apps=0, limited: 0",
        Refuser.QUOTA,
        "ResourceQuota ns/sets",
        "count/replicasets.apps=1",
        id="a ReplicaSet",
    ),
    pytest.param(
        'Deployment.apps "a" is invalid: spec.template.spec.containers[0].image: Required value',
        Refuser.OTHER,
        "The API server",
        "spec.template.spec.containers[0].image: Required value",
        id="an invalid object",
    ),
    pytest.param("something new", Refuser.OTHER, "The API server", "something new", id="unknown words"),
]


@pytest.mark.parametrize(("message", "refuser", "name", "problem"), MESSAGES)
def test_a_message_names_what_refused(message: str, refuser: Refuser, name: str, problem: str) -> None:
    found = cluster_refusal(message, "ns")
    assert (found.refuser, found.name) == (refuser, name)
    assert problem in found.problem
    assert not found.problem.endswith(".")
    assert found.remedy
    assert not found.remedy.endswith(".")


def test_the_pods_name_which_differs_with_each_try_is_not_repeated() -> None:
    first, second = (cluster_refusal(QUOTA.replace("a-1", name), "ns") for name in ("a-1", "b-2"))
    assert first == second
    assert first.resource == "requests.nvidia.com/gpu"


@pytest.mark.parametrize("message", ["x" * 5000, SECURITY + ", more" * 1000, "", "pods is forbidden: "])
def test_long_and_empty_messages_are_bounded(message: str) -> None:
    found = cluster_refusal(message, "ns")
    assert 0 < len(found.problem) <= MOST_TEXT + 4


NO_PREEMPTION = " preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."


def of_scheduler(message: str) -> ClusterRefusal | None:
    return scheduling_refusal(scheduling_words(message), "ns", "l40s", "nvidia.com/gpu")


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "0/5 nodes are available: 2 node(s) had untolerated taint {team: x}, 3 node(s) didn't match Pod's"
            " node affinity/selector.",
            "Tolerate the taint in spec.tolerations of GPUPool l40s",
        ),
        (
            "0/5 nodes are available: 5 node(s) had volume node affinity conflict.",
            "Let spec.nodeSelector of GPUPool l40s select only nodes in the zone of the volume",
        ),
        (
            '0/5 nodes are available: persistentvolumeclaim "cache" not found.',
            "Create or bind the PersistentVolumeClaim (kubectl -n ns get pvc)",
        ),
        (
            "0/5 nodes are available: 2 Insufficient cpu, 3 Insufficient memory.",
            "Free cpu, memory on the nodes",
        ),
        (
            "0/5 nodes are available: 5 node(s) didn't satisfy existing pods anti-affinity rules.",
            "Compare the pod",
        ),
    ],
)
def test_the_schedulers_words_are_kept_with_a_remedy(message: str, remedy: str) -> None:
    found = of_scheduler(message + NO_PREEMPTION)
    assert found is not None
    assert found.problem == message.rstrip(".")
    assert found.remedy.startswith(remedy)


def test_what_the_scheduler_tried_by_claims_and_preemption_is_left_out() -> None:
    words = "0/5 nodes are available: 5 node(s) had untolerated taint {team: x}"
    assert scheduling_words(f"{words}. no new claims to deallocate,{NO_PREEMPTION}") == words


def test_nodes_that_lack_gpus_are_no_refusal_because_the_planner_counts_them() -> None:
    full = (
        "0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 node(s) didn't match Pod's node selector."
    )
    assert of_scheduler(full + NO_PREEMPTION) is None
    assert of_scheduler("") is None
    assert of_scheduler("0/5 nodes are available: 5 Insufficient nvidia.com/gpu-shared.") is not None


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("8", 8000), (8, 8000), ("100m", 100), ("1.5", 1500), (".5", 500), ("1Ki", 1_024_000),
        ("2k", 2_000_000), ("1e3", 1_000_000), ("1500u", 2), ("0", 0), ("1E", 10**21), ("eight", None),
        ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_quantity_is_read_as_kubernetes_reads_it(quantity: object, expected: int | None) -> None:
    assert thousandths(quantity) == expected


def a_quota(**status: object) -> dict[str, object]:
    return {
        "metadata": {"namespace": "ns", "name": "gpus"},
        "spec": {"hard": {"requests.nvidia.com/gpu": "8"}, "scopes": ["NotTerminating"]},
        "status": status,
    }


def test_what_a_quota_has_used_is_not_known_before_its_status_is_of_its_spec() -> None:
    of_spec = {"requests.nvidia.com/gpu": "8"}
    assert quota_state(a_quota()).used is None
    assert quota_state(a_quota(hard={"requests.nvidia.com/gpu": "4"}, used=of_spec)).used is None
    assert quota_state(a_quota(hard=of_spec, used={"requests.nvidia.com/gpu": "3"})).used == {
        "requests.nvidia.com/gpu": "3"
    }
    assert quota_state(a_quota()).scopes[0].scope == "NotTerminating"


def test_a_limit_range_words_its_bounds_as_the_api_server_does() -> None:
    limits = [{"type": "Container", "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "2"}}]
    state = limit_range_state({"metadata": {"namespace": "ns", "name": "m"}, "spec": {"limits": limits}})
    assert state.bounds == (
        "maximum memory usage per Container is 1Gi",
        "cpu max limit to request ratio per Container is 2",
    )
