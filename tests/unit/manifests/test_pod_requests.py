"""What a pod's containers ask for together, as the scheduler sums it."""

from __future__ import annotations

from argosy.manifests.pod_requests import pod_requests


def a_container(cpu: str, **fields: object) -> dict[str, object]:
    return {"resources": {"requests": {"cpu": cpu}}, **fields}


def test_containers_ask_together_and_a_limit_without_a_request_is_one() -> None:
    memory = {"resources": {"limits": {"memory": "1Ki", "cpu": "9"}, "requests": {"cpu": "500m"}}}
    assert pod_requests({"containers": [a_container("2"), memory]}) == {"cpu": 2500, "memory": 1_024_000}


def test_an_init_container_counts_where_it_asks_for_more_and_a_sidecar_always() -> None:
    sidecar = a_container("1", restartPolicy="Always")
    spec = {"containers": [a_container("2")], "initContainers": [a_container("9"), sidecar]}
    assert pod_requests(spec) == {"cpu": 9000}
    assert pod_requests({**spec, "initContainers": [sidecar, a_container("9")]}) == {"cpu": 10_000}
    assert pod_requests({**spec, "initContainers": [a_container("1"), sidecar]}) == {"cpu": 3000}


def test_what_is_no_quantity_is_left_to_the_api_server() -> None:
    assert pod_requests({"containers": [a_container("many"), {}]}) == {}
