"""What each refusal of the API server asks for."""

from __future__ import annotations

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException

from argosy.errors import ActuationError, NextStep, Obstacle
from argosy.kube.failures import typed


def refused(status: int, body: str = "", reason: str = "Because") -> ApiException:
    error = ApiException(status=status, reason=reason)
    error.body = body
    return error


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        pytest.param(refused(400), NextStep.GIVE_UP, id="malformed"),
        pytest.param(refused(401), NextStep.RETRY, id="a token being rotated"),
        pytest.param(
            refused(403), NextStep.RETRY, id="roles not read yet by an API server that has just started"
        ),
        pytest.param(
            refused(403, '{"message": "pods \\"a\\" is forbidden: exceeded quota: gpus"}'),
            NextStep.GIVE_UP,
            id="not admitted, which concerns this object alone",
        ),
        pytest.param(refused(404), NextStep.REPLAN, id="gone"),
        pytest.param(refused(409), NextStep.REPLAN, id="changed meanwhile"),
        pytest.param(refused(410), NextStep.REPLAN, id="too old"),
        pytest.param(refused(413), NextStep.GIVE_UP, id="too large"),
        pytest.param(refused(422), NextStep.GIVE_UP, id="invalid"),
        pytest.param(refused(429), NextStep.RETRY, id="too many requests"),
        pytest.param(refused(500), NextStep.RETRY, id="internal error"),
        pytest.param(refused(503), NextStep.RETRY, id="overloaded"),
        pytest.param(
            refused(403, '{"message": "admission webhook \\"p.example\\" denied the request: no"}'),
            NextStep.GIVE_UP,
            id="a webhook refuses the object",
        ),
        pytest.param(
            refused(400, '{"message": "admission webhook \\"p.example\\" denied the request: no"}'),
            NextStep.GIVE_UP,
            id="a webhook refuses the object with a status of its own",
        ),
        pytest.param(
            refused(
                500, '{"message": "Internal error occurred: failed calling webhook \\"p.example\\": EOF"}'
            ),
            NextStep.GIVE_UP,
            id="a webhook does not answer, which concerns this object alone",
        ),
        pytest.param(TimeoutError(), NextStep.RETRY, id="no answer in time"),
        pytest.param(aiohttp.ClientConnectionError("refused"), NextStep.RETRY, id="no server listens"),
        pytest.param(ConnectionResetError("reset"), NextStep.RETRY, id="hung up"),
    ],
)
def test_a_failure_says_what_to_do_next(error: Exception, next_step: NextStep) -> None:
    with pytest.raises(ActuationError) as caught, typed("PATCH /pods/a"):
        raise error
    assert caught.value.next_step is next_step
    assert str(caught.value).startswith("PATCH /pods/a: ")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        pytest.param(TimeoutError(), "TimeoutError", id="without a text of its own"),
        pytest.param(ConnectionResetError("reset by peer"), "reset by peer", id="with one"),
    ],
)
def test_a_server_that_does_not_answer_is_named_with_the_cause(error: Exception, why: str) -> None:
    with pytest.raises(ActuationError) as caught, typed("PATCH a"):
        raise error
    assert str(caught.value) == f"PATCH a: the API server does not answer: {why}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"message": "pods \\"a\\" not found"}', 'PATCH a: 404 pods "a" not found'),
        ('{"other": 1}', "PATCH a: 404 Because"),
        ("<html>", "PATCH a: 404 Because"),
        ("", "PATCH a: 404 Because"),
    ],
)
def test_the_api_servers_own_words_are_kept(body: str, said: str) -> None:
    with pytest.raises(ActuationError) as caught, typed("PATCH a"):
        raise refused(404, body)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("action", "status", "body", "obstacle", "sentence"),
    [
        pytest.param(
            "PATCH /apis/apps/v1/namespaces/prod/deployments/chat/scale",
            403,
            '{"message": "deployments.apps \\"chat\\" is forbidden: User \\"op\\" cannot patch resource'
            ' \\"deployments/scale\\" in API group \\"apps\\" in the namespace \\"prod\\""}',
            Obstacle.FORBIDDEN,
            'the operator\'s account op may not patch deployments.apps/scale in the namespace "prod": give'
            " it the permissions of charts/argosy/files/operator-rbac.yaml (kubectl apply --server-side -f"
            " charts/argosy/files/operator-rbac.yaml)",
            id="a permission for a part of an object",
        ),
        pytest.param(
            "POST /apis/argosy.dev/v1alpha1/fleetplans",
            403,
            '{"message": "fleetplans.argosy.dev is forbidden: User \\"system:serviceaccount:a:b\\"'
            ' cannot create resource \\"fleetplans\\" in API group \\"argosy.dev\\" at the cluster scope"}',
            Obstacle.FORBIDDEN,
            "the operator's account system:serviceaccount:a:b may not create fleetplans.argosy.dev at the"
            " cluster scope: give it the permissions of charts/argosy/files/operator-rbac.yaml (kubectl apply"
            " --server-side -f charts/argosy/files/operator-rbac.yaml)",
            id="a permission is missing",
        ),
        pytest.param(
            "GET /apis/argosy.dev/v1alpha1/fleets",
            401,
            '{"message": "Unauthorized"}',
            Obstacle.FORBIDDEN,
            "the API server does not accept the operator's credentials: renew the token, or the user of the"
            " kubeconfig",
            id="a token has expired",
        ),
        pytest.param(
            "POST /apis/coordination.k8s.io/v1/namespaces/argosy-system/leases",
            404,
            '{"message": "namespaces \\"argosy-system\\" not found"}',
            Obstacle.NAMESPACE_MISSING,
            "the namespace argosy-system does not exist: create it (kubectl create namespace argosy-system)",
            id="a namespace is missing",
        ),
        pytest.param(
            "PATCH /apis/apps/v1/namespaces/team/deployments/a",
            403,
            '{"message": "deployments.apps \\"a\\" is forbidden: unable to create new content in'
            ' namespace team because it is being terminated"}',
            Obstacle.NAMESPACE_MISSING,
            "the namespace team is being deleted, so nothing is created in it; delete the objects elsewhere"
            " that refer to it, or create the namespace again once it is gone",
            id="a namespace is being deleted",
        ),
        pytest.param(
            "GET /apis/argosy.dev/v1alpha1/fleets",
            404,
            "404 page not found\n",
            Obstacle.KIND_MISSING,
            "its CustomResourceDefinition is not installed: apply those of Argosy (kubectl apply"
            " --server-side -f crds/)",
            id="a CRD is missing",
        ),
        pytest.param(
            "GET /apis/policy/v1/poddisruptionbudgets",
            404,
            "404 page not found\n",
            Obstacle.KIND_MISSING,
            "the API server does not know this kind: Kubernetes 1.29 or later is needed",
            id="a kind of Kubernetes is missing",
        ),
    ],
)
def test_what_an_administrator_has_to_remedy_is_named_with_the_remedy(
    action: str, status: int, body: str, obstacle: Obstacle, sentence: str
) -> None:
    with pytest.raises(ActuationError) as caught, typed(action):
        raise refused(status, body)
    assert (caught.value.obstacle, str(caught.value)) == (obstacle, f"{action}: {status}: {sentence}")


def test_what_is_no_refusal_passes() -> None:
    with typed("GET a"):
        pass
    with pytest.raises(KeyError), typed("GET a"):
        raise KeyError("a bug")
