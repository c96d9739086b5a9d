"""What the Fleet says of the gateway, as routes are compiled from it."""

from __future__ import annotations

from builders import a_class, a_fleet, a_model, a_pool, some_nodes
from small_fleet import World

from argosy.control.routes import route_inputs
from argosy.route.compile import compile_routes
from argosy.route.table import Cors, Gateway


def gateway_of(**spec: object) -> Gateway:
    world = World(some_nodes("l40s", 1), a_fleet(gateway=spec), a_pool(), a_model(), a_class())
    return compile_routes(route_inputs(world.snapshot(), None)).gateway


def test_no_page_of_another_origin_is_the_default() -> None:
    assert gateway_of().cors is None


def test_origins_alone_get_the_other_settings_by_default() -> None:
    assert gateway_of(cors={"allowOrigins": ["https://a.example"]}).cors == Cors(
        origins=("https://a.example",),
        methods=("GET", "POST"),
        headers=("*", "authorization"),
        exposed=("x-request-id", "retry-after"),
        credentials=False,
        max_age_s=600,
    )


def test_every_setting_for_pages_reaches_the_routes() -> None:
    cors = {
        "allowOrigins": ["https://a.example", "https://*.b.example"],
        "allowMethods": ["POST"],
        "allowHeaders": ["x-a"],
        "exposeHeaders": [],
        "allowCredentials": True,
        "maxAgeSeconds": 5,
    }
    assert gateway_of(cors=cors).cors == Cors(
        origins=("https://a.example", "https://*.b.example"),
        methods=("POST",),
        headers=("x-a",),
        exposed=(),
        credentials=True,
        max_age_s=5,
    )
