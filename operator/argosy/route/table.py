"""Which cluster gets which requests, as data: the route table that `xds` turns into Envoy's resources.

Owns the shape of a route table; `compile` builds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from argosy.addresses import written
from argosy.keys import CellName, ClassKey, DeploymentKey


class EndpointState(StrEnum):
    """What the control plane knows of an endpoint; Envoy's own health checks come on top."""

    READY = "Ready"
    DRAINING = "Draining"
    """Takes no new request; those in flight finish."""
    NOT_READY = "NotReady"
    """Not in rotation, but may have requests in flight: Envoy goes on checking that it is alive. Where a
    cell has no other, its requests wait until this one answers again."""
    TERMINATING = "Terminating"
    """Not in rotation and does not come back, but may have requests in flight."""
    MARKED = "Marked"
    """About to be removed: the same, unless it is the last that serves a planned cell."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One engine: where it listens and the pod behind it.

    adapters: LoRA adapters whose requests it takes
    """

    address: str
    port: int
    pod: str
    state: EndpointState = EndpointState.READY
    adapters: tuple[str, ...] = ()

    @property
    def socket(self) -> str:
        """`address:port`, as telemetry names the engine."""
        return written(self.address, self.port)


@dataclass(frozen=True, slots=True)
class RoutePath:
    """A request path, whole or as a prefix (by path elements, as in Gateway API)."""

    value: str
    exact: bool


Header: TypeAlias = tuple[str, str]
"""Lower-case name and exact value."""


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """How a class's requests are recognised: all the given parts together.

    models: any of these in the JSON body's `model`
    """

    path: RoutePath | None = None
    headers: tuple[Header, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """How the requests of one class are recognised."""

    class_key: ClassKey
    match: RequestMatch


@dataclass(frozen=True, slots=True)
class FormerRoutes:
    """What Envoys have of an earlier table: the claims of all classes, first match first, and the limit of
    a request's body."""

    claims: tuple[Claim, ...] = ()
    max_body_bytes: int = 0

    @property
    def classes(self) -> frozenset[ClassKey]:
        """The classes that have a claim."""
        return frozenset(claim.class_key for claim in self.claims)


@dataclass(frozen=True, slots=True)
class Backend:
    """A cluster's share (0-1) of an entry's requests."""

    cluster: DeploymentKey
    share: float


@dataclass(frozen=True, slots=True)
class AdapterRoute:
    """Requests of an entry that name a LoRA adapter: only endpoints that hold it take them.

    Without backends the answer is 503 with `refusal` as its message.
    """

    name: str
    backends: tuple[Backend, ...]
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class MirrorRoute:
    """Copies of an entry's requests. cluster: which gets them; share: of the requests, 0-1"""

    cluster: DeploymentKey
    share: float


class Unnamed(StrEnum):
    """Which requests an entry takes that are for its path and headers, and whose model is not known."""

    REFUSED = "Refused"
    """None of them."""
    UNREADABLE = "Unreadable"
    """Those whose content type is not JSON, such as the form of an audio transcription."""
    ANY = "Any"
    """Those, and JSON that names no model."""


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One cell's route. `stat_prefix` names its counters at Envoy.

    An entry without backends answers 503 with `refusal` as its message.

    per_try_idle_timeout_s: silence after which a try times out, in seconds; None: never. Silence does
        not mean that an engine is dead: only a user may set it.
    """

    cell: CellName
    class_key: ClassKey
    stat_prefix: str
    match: RequestMatch
    backends: tuple[Backend, ...]
    retry_attempts: int
    refusal: str = ""
    per_try_idle_timeout_s: float | None = None
    unnamed: Unnamed = Unnamed.REFUSED
    adapters: tuple[AdapterRoute, ...] = ()
    mirrors: tuple[MirrorRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """When Envoy ejects an endpoint that answers with errors, and for how long."""

    consecutive_errors: int = 5
    ejection_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ClusterEntry:
    """One Envoy cluster: the replicas of one variant in one sharing group, equal weights.

    request_limit: requests in flight at one Envoy beyond which it refuses; None: no limit
    alternatives: the other clusters that may take any request of this one
    has_adapters: its engines can hold LoRA adapters
    """

    name: DeploymentKey
    endpoints: tuple[Endpoint, ...]
    outlier: OutlierSettings = OutlierSettings()
    request_limit: int | None = None
    alternatives: tuple[DeploymentKey, ...] = ()
    has_adapters: bool = False


class AccessLogFormat(StrEnum):
    """How a line of Envoy's access log looks."""

    JSON = "Json"
    TEXT = "Text"


LEAST_BODY_BYTES = 4 * 1024 * 1024
"""What a request's body may hold, whatever the models take."""


@dataclass(frozen=True, slots=True)
class Cors:
    """Which web pages may call the gateway: `*` and `scheme://*.domain` are patterns of origins."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    credentials: bool
    max_age_s: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where Envoy listens for requests.

    max_body_bytes: bounds what the JSON filter buffers
    access_log: one line per request on Envoy's standard output; None: none
    shows_endpoint: responses carry the address of the replica that answered
    cors: None: no page of another origin
    """

    address: str
    port: int
    max_body_bytes: int = LEAST_BODY_BYTES
    access_log: AccessLogFormat | None = None
    shows_endpoint: bool = False
    cors: Cors | None = None


@dataclass(frozen=True, slots=True)
class ModelHint:
    """Which classes take a model, and what they ask for besides it."""

    model: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Hints:
    """What a client reads whose request no class takes; each goes on after the request and a colon.

    other_model: where the body names a model that no class takes; no_model: where it names none
    """

    by_model: tuple[ModelHint, ...] = ()
    other_model: str = "no WorkloadClass exists that takes requests"
    no_model: str = "no WorkloadClass exists that takes requests"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A name that requests may use, as clients read of it.

    root: id of the model; None where only the engine knows it. created_s: seconds since the epoch.
    max_model_len: tokens of prompt and output; parent: of an adapter, the name of its model
    """

    name: str
    root: str | None
    created_s: int
    max_model_len: int | None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """What callers that send these headers can name."""

    headers: tuple[Header, ...]
    cards: tuple[ModelCard, ...]


@dataclass(frozen=True, slots=True)
class Listings:
    """Which models a caller sees; in both, the first whose headers a request has is what it reads.

    by_caller: whole lists; by_name: offers of one card each
    """

    by_caller: tuple[ModelOffer, ...] = (ModelOffer((), ()),)
    by_name: tuple[ModelOffer, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Everything that Envoy is configured from; routes by precedence (the first match wins).

    `revision` is the FleetPlan revision that the shares come from; 0 before the first plan.
    """

    revision: int
    gateway: Gateway
    routes: tuple[RouteEntry, ...]
    clusters: tuple[ClusterEntry, ...]
    hints: Hints = Hints()
    listings: Listings = Listings()
