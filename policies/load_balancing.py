"""LoadBalancing: which endpoint of a service takes a request. Enforced by the caller.

https://www.envoyproxy.io/docs/envoy/v1.40.0/intro/arch_overview/upstream/load_balancing/load_balancing
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, cast

from pydantic import Field

from documents.envelope import Part, Problem
from documents.gateway_api.common import HeaderName, ParameterName
from envoy.packing import pack
from envoy.route_extensions import SESSION_FILTER, session_filter
from envoy.seams import Parts, serialised
from mesh.localities import Spread
from mesh.routes import SessionKind, SessionPersistence
from mesh.targeting import Level
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.route.v3.route_components_pb2 import Route, RouteAction
from pb.envoy.extensions.load_balancing_policies.common.v3.common_pb2 import SlowStartConfig
from pb.envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import LeastRequest
from pb.envoy.extensions.load_balancing_policies.maglev.v3.maglev_pb2 import Maglev
from pb.envoy.extensions.load_balancing_policies.random.v3.random_pb2 import Random
from pb.envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2 import RingHash
from pb.envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from policies.document import ROUTES, WITHOUT_REQUESTS, PolicyDocument, Targeting
from policies.fields import Duration, Percent, PositiveDuration, seconds, set_duration
from policies.kind import ANYWHERE, PolicyKind, Side, Where
from policies.locality import LocalityFields, configure, is_weighted, is_zone_aware
from policies.locality import spread as localities_of

EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: LoadBalancing
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  algorithm: maglev
  hash:
  - {header: x-user, terminal: true}
  - cookie: {name: visitor, ttl: 1h}
"""

Algorithm = Literal["leastRequest", "roundRobin", "random", "ringHash", "maglev"]
HASHING = ("ringHash", "maglev")
STARTING = ("leastRequest", "roundRobin")
DEFAULT: Final = "leastRequest"


class LeastRequestFields(Part):
    choice_count: Annotated[int, Field(ge=2, le=1_000_000)] | None = Field(
        None,
        description="Endpoints that are drawn at random, of which the one with the fewest requests under way takes it. Default 2.",
    )
    active_request_bias: Annotated[float, Field(ge=0, le=100, strict=False)] | None = Field(
        None,
        description="How much requests under way count against an endpoint's weight, where weights differ. 0 is round robin by weight. Default 1.",
    )


class RingHashFields(Part):
    minimum_size: Annotated[int, Field(ge=1, le=8_388_608)] | None = Field(
        None, description="Points on the ring, at least. More spread requests more evenly. Default 1024."
    )
    maximum_size: Annotated[int, Field(ge=1, le=8_388_608)] | None = Field(
        None, description="Points on the ring, at most. Default 8388608."
    )


class MaglevFields(Part):
    table_size: Annotated[int, Field(ge=2, le=5_000_011)] | None = Field(
        None, description="Size of the table, a prime number. Default 65537."
    )


class HashCookie(Part):
    name: ParameterName = Field(description="Of the cookie.")
    ttl: Duration | None = Field(
        None,
        description="A request without the cookie is given one for this long; 0s: for the client's own session. By default none is "
        "given, and such a request has nothing to hash here.",
    )
    path: str | None = Field(None, description="Path of a cookie that is given. By default none.")


class HashFields(Part):
    """What of a request is hashed. Exactly one of the four."""

    header: HeaderName | None = Field(None, description="The value of this header.")
    cookie: HashCookie | None = Field(None, description="The value of this cookie.")
    query_parameter: ParameterName | None = Field(
        None, description="The value of this parameter of the query."
    )
    source_address: Literal[True] | None = Field(
        None,
        description="The client's address, as the last of `x-forwarded-for` has it; without one, that of the connection to the caller's sidecar.",
    )
    terminal: bool = Field(
        False,
        description="If this is found in a request, what follows in the list is not looked at. Default false.",
    )


class SlowStartFields(Part):
    window: PositiveDuration | None = Field(
        None,
        description="For this long after it came, an endpoint gets a growing part of its share. Default 30s.",
    )
    aggression: Annotated[float, Field(ge=0.01, le=100, strict=False)] | None = Field(
        None, description="1 grows evenly; more is quicker at first, less is slower. Default 1."
    )
    min_weight_percent: Percent | None = Field(
        None, description="The part of its share that it begins with, in percent. Default 10."
    )


class StickySessionFields(Part):
    """Requests of one session go to the endpoint that took its first, as long as it is there and healthy."""

    type: Literal["Cookie", "Header"] | None = Field(
        None, description="How the session is told, in requests and answers. Default Cookie."
    )
    name: ParameterName | None = Field(
        None, description="The name of the cookie or header. Default `meshwright-session`."
    )
    ttl: PositiveDuration | None = Field(
        None, description="How long the client keeps the cookie. By default as long as its own session."
    )
    path: str | None = Field(None, description="The path of the cookie. Default `/`.")
    strict: bool | None = Field(
        None,
        description="Answer 503 when the session's endpoint is away, instead of taking another. Default false.",
    )


class LoadBalancingFields(Part):
    algorithm: Algorithm | None = Field(
        None,
        description="`leastRequest`: of two endpoints drawn at random, the less busy one. `roundRobin`: one after the other. `random`. "
        "`ringHash` and `maglev`: always the same endpoint for the same `hash`; maglev spreads more evenly, ringHash moves "
        "fewer requests when endpoints come and go. Default `leastRequest`.",
    )
    least_request: LeastRequestFields | None = Field(None, description="For `leastRequest`.")
    ring_hash: RingHashFields | None = Field(None, description="For `ringHash`.")
    maglev: MaglevFields | None = Field(None, description="For `maglev`.")
    hash: list[HashFields] | None = Field(
        None,
        min_length=1,
        description="What `ringHash` and `maglev` go by: all that is found in a request, together. A request with none of it, and a TCP "
        "connection, goes to an endpoint at random.",
    )
    hash_balance_percent: Annotated[int, Field(ge=100, le=2**32 - 1)] | None = Field(
        None,
        description="With `ringHash` and `maglev`: an endpoint that has more than this percentage of the mean of requests under way is "
        "passed over (bounded load). By default no bound.",
    )
    slow_start: SlowStartFields | None = Field(
        None,
        description="For endpoints that have just come, with `leastRequest` and `roundRobin`. By default none.",
    )
    panic_threshold: Percent | None = Field(
        None,
        description="When fewer than this percentage of endpoints are healthy, traffic goes to all of them, for more requests would fail "
        "by overload than by the unhealthy ones. 0: never. Default 50.",
    )
    sticky_session: StickySessionFields | None = Field(
        None,
        description="Sessions that stick to an endpoint. `sessionPersistence` of a route's rule takes its place.",
    )
    locality: LocalityFields | None = Field(
        None,
        description="How calls are spread over regions and zones. By default endpoints are equal wherever they are.",
    )


class LoadBalancingSpec(Targeting, LoadBalancingFields):
    pass


class LoadBalancing(PolicyDocument):
    """Which endpoint of a service takes a request."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["LoadBalancing"]
    spec: LoadBalancingSpec

    def own_problems(self) -> Iterator[Problem]:
        spec = self.spec
        whole = sorted(spec.model_fields_set & _WHOLE)
        for place, ref in enumerate(spec.target_refs):
            if ref.kind in ROUTES and whole:
                yield Problem(
                    ("spec", "targetRefs", place),
                    "a route says only hash and stickySession; all else belongs to the whole service",
                    "Target the service",
                )
            elif ref.kind in WITHOUT_REQUESTS:
                yield Problem(
                    ("spec", "targetRefs", place),
                    f"a {ref.kind} has connections, and no requests with something to hash or a session",
                    "Target the service, or an HTTPRoute or GRPCRoute",
                )
        for place, each in enumerate(spec.hash or ()):
            if len(each.model_fields_set - {"terminal"}) != 1:
                yield Problem(
                    ("spec", "hash", place),
                    "exactly one of header, cookie, queryParameter and sourceAddress is to be hashed",
                    "Make each an entry of its own",
                )
        yield from self._without_effect()
        if spec.locality is not None:
            yield from spec.locality.problems(("spec", "locality"))
            if is_zone_aware(spec.locality) and spec.algorithm in HASHING:
                yield Problem(
                    ("spec", "locality", "mode"),
                    f"{spec.algorithm} cannot go by zones: the same endpoint takes the same hash",
                    "Use mode: failover, or another algorithm",
                )
        ring, sticky = spec.ring_hash, spec.sticky_session
        if ring and ring.minimum_size and ring.maximum_size and ring.minimum_size > ring.maximum_size:
            yield Problem(
                ("spec", "ringHash", "minimumSize"),
                f"{ring.minimum_size} is more than maximumSize, {ring.maximum_size}",
                "Make it less",
            )
        table = spec.maglev and spec.maglev.table_size
        if table and any(table % each == 0 for each in range(2, int(table**0.5) + 1)):
            yield Problem(
                ("spec", "maglev", "tableSize"), f"{table} is not a prime number", "Use 65537, for example"
            )
        if sticky and sticky.type == "Header" and (sticky.ttl or sticky.path):
            yield Problem(
                ("spec", "stickySession", "ttl" if sticky.ttl else "path"),
                "a session told by a header has no cookie",
                "Remove it, or use type: Cookie",
            )
        if sticky and sticky.ttl and seconds(sticky.ttl).total_seconds() < 1:
            yield Problem(
                ("spec", "stickySession", "ttl"), "a cookie is kept for whole seconds", "Use 1s or more"
            )

    def _without_effect(self) -> Iterator[Problem]:
        """What the algorithm that this very document asks for takes no notice of."""
        asked = self.spec.algorithm
        needed: dict[str, tuple[str, ...]] = {
            "leastRequest": ("leastRequest",),
            "ringHash": ("ringHash",),
            "maglev": ("maglev",),
            "hash": HASHING,
            "hashBalancePercent": HASHING,
            "slowStart": STARTING,
        }
        given = {
            LoadBalancingFields.model_fields[name].alias or name for name in self.spec.model_fields_set & _ALL
        }
        for name, algorithms in needed.items():
            if asked is not None and name in given and asked not in algorithms:
                yield Problem(
                    ("spec", name),
                    f"it has no effect on {asked}",
                    f"Remove it, or use algorithm: {' or '.join(algorithms)}",
                )


_ALL = set(LoadBalancingFields.model_fields)
_WHOLE = _ALL - {"hash", "sticky_session"}


def effect(fields: LoadBalancingFields, where: Where) -> Parts:
    cluster, action, route = Cluster(), RouteAction(), Route()
    if not where.route:
        _choose(cluster, fields)
    for each in fields.hash or ():
        _hash(action.hash_policy.add(), each)
    if fields.sticky_session is not None:
        _stick(route, fields.sticky_session)
    return Parts(cluster=serialised(cluster), action=serialised(action), route=serialised(route))


def _choose(cluster: Cluster, fields: LoadBalancingFields) -> None:
    if fields.panic_threshold is not None:
        cluster.common_lb_config.healthy_panic_threshold.value = fields.panic_threshold
        cluster.common_lb_config.healthy_panic_threshold.SetInParent()
    name = fields.algorithm or DEFAULT
    made = cluster.load_balancing_policy.policies.add().typed_extension_config
    made.name = f"envoy.load_balancing_policies.{_ENVOY_NAMES[name]}"
    pack(made.typed_config, _algorithm(name, fields))


_ENVOY_NAMES = {
    "leastRequest": "least_request",
    "roundRobin": "round_robin",
    "random": "random",
    "ringHash": "ring_hash",
    "maglev": "maglev",
}


def _algorithm(
    name: Algorithm, fields: LoadBalancingFields
) -> LeastRequest | RoundRobin | Random | RingHash | Maglev:
    match name:
        case "leastRequest":
            return _least_request(fields)
        case "roundRobin":
            robin = RoundRobin()
            _slow_start(robin.slow_start_config, fields.slow_start)
            configure(robin.locality_lb_config, fields.locality)
            return robin
        case "random":
            drawn = Random()
            configure(drawn.locality_lb_config, fields.locality)
            return drawn
        case "ringHash":
            return _ring_hash(fields)
        case "maglev":
            maglev = Maglev()
            if is_weighted(fields.locality):
                maglev.locality_weighted_lb_config.SetInParent()
            if fields.maglev is not None and fields.maglev.table_size is not None:
                maglev.table_size.value = fields.maglev.table_size
            if fields.hash_balance_percent is not None:
                maglev.consistent_hashing_lb_config.hash_balance_factor.value = fields.hash_balance_percent
            return maglev


def _least_request(fields: LoadBalancingFields) -> LeastRequest:
    made, said = LeastRequest(), fields.least_request
    if said is not None and said.choice_count is not None:
        made.choice_count.value = said.choice_count
    if said is not None and said.active_request_bias is not None:
        made.active_request_bias.default_value = said.active_request_bias
        made.active_request_bias.runtime_key = "meshwright.least_request.active_request_bias"
    _slow_start(made.slow_start_config, fields.slow_start)
    configure(made.locality_lb_config, fields.locality)
    return made


def _ring_hash(fields: LoadBalancingFields) -> RingHash:
    made, said = RingHash(), fields.ring_hash
    if is_weighted(fields.locality):
        made.locality_weighted_lb_config.SetInParent()
    if said is not None and said.minimum_size is not None:
        made.minimum_ring_size.value = said.minimum_size
    if said is not None and said.maximum_size is not None:
        made.maximum_ring_size.value = said.maximum_size
    if fields.hash_balance_percent is not None:
        made.consistent_hashing_lb_config.hash_balance_factor.value = fields.hash_balance_percent
    return made


def _slow_start(made: SlowStartConfig, fields: SlowStartFields | None) -> None:
    if fields is None:
        return
    set_duration(made.slow_start_window, fields.window or "30s")
    if fields.aggression is not None:
        made.aggression.default_value = fields.aggression
        made.aggression.runtime_key = "meshwright.slow_start.aggression"
    if fields.min_weight_percent is not None:
        made.min_weight_percent.value = fields.min_weight_percent
        made.min_weight_percent.SetInParent()


def _hash(made: RouteAction.HashPolicy, fields: HashFields) -> None:
    made.terminal = fields.terminal
    if fields.header is not None:
        made.header.header_name = fields.header
    elif fields.cookie is not None:
        made.cookie.name = fields.cookie.name
        if fields.cookie.ttl is not None:
            set_duration(made.cookie.ttl, fields.cookie.ttl)
        if fields.cookie.path is not None:
            made.cookie.path = fields.cookie.path
    elif fields.query_parameter is not None:
        made.query_parameter.name = fields.query_parameter
    else:
        made.connection_properties.source_ip = True


def _stick(route: Route, fields: StickySessionFields) -> None:
    kind = SessionKind(fields.type or "Cookie")
    wanted = SessionPersistence(
        kind,
        fields.name or "meshwright-session",
        seconds(fields.ttl) if fields.ttl and kind is SessionKind.COOKIE else None,
        permanent=bool(fields.ttl),
    )
    made = session_filter(wanted, cast("str", wanted.name), fields.path or "/")
    made.stateful_session.strict = bool(fields.strict)
    pack(route.typed_per_filter_config[SESSION_FILTER.name], made)


def spread(fields: LoadBalancingFields) -> Spread | None:
    return None if fields.locality is None else localities_of(fields.locality)


KIND = PolicyKind(
    LoadBalancing,
    LoadBalancingFields,
    Side.CALLER,
    effect,
    levels=ANYWHERE - {Level.WORKLOAD},
    spread=spread,
)
