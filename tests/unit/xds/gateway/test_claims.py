"""What a process that has just started reads back of the routes that Envoys have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from argosy.route.table import Backend, Claim, Gateway, RequestMatch, RouteEntry, RoutePath, RouteTable
from argosy.xds.gateway.claims import former_routes
from argosy.xds.gateway.routes import route_configuration_of

NAMES = st.sampled_from(["a", "b", "llama-8b"])
PATHS = st.builds(RoutePath, st.sampled_from(["/v1", "/v1/chat/completions"]), st.booleans())
MATCHES = st.builds(
    RequestMatch,
    st.none() | PATHS,
    st.lists(st.tuples(NAMES, NAMES), max_size=2, unique_by=lambda h: h[0]).map(tuple),
    st.lists(NAMES, max_size=3, unique=True).map(tuple),
)


def entry(key: str, match: RequestMatch, *, is_served: bool) -> RouteEntry:
    backends = (Backend("default/c", 1.0),) if is_served else ()
    return RouteEntry(key, key, key.replace("/", "_"), match, backends, 2, "" if is_served else "none")


@given(st.lists(st.tuples(MATCHES, st.booleans()), max_size=4), st.integers(1, 1 << 30))
def test_claims_come_back_as_they_went_in_their_order(
    found: list[tuple[RequestMatch, bool]], body_bytes: int
) -> None:
    claims = [Claim(f"default/c{number}", match) for number, (match, _) in enumerate(found)]
    routes = tuple(
        entry(claim.class_key, claim.match, is_served=is_served)
        for claim, (_, is_served) in zip(claims, found, strict=True)
    )
    table = RouteTable(3, Gateway("0.0.0.0", 8080, body_bytes), routes, ())
    former = former_routes(route_configuration_of(table))
    assert former.claims == tuple(claims)
    assert former.max_body_bytes == body_bytes
    assert former.classes == {claim.class_key for claim in claims}


def test_a_class_with_several_cells_has_one_claim() -> None:
    match = RequestMatch(models=("a",))
    cells = tuple(
        RouteEntry(f"default/chat/{n}", "default/chat", f"chat_{n}", match, (), 2, "none") for n in (1, 2)
    )
    table = RouteTable(3, Gateway("0.0.0.0", 8080, 1000), cells, ())
    assert former_routes(route_configuration_of(table)).claims == (Claim("default/chat", match),)
