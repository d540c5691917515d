"""What a route does with a request, where nobody says otherwise.

https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/route/v3/route_components.proto#config-route-v3-routeaction
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy import names
from envoy.packing import pack
from envoy.seams import Parts
from pb.envoy.config.route.v3.route_components_pb2 import RetryPolicy, Route, RouteAction
from pb.envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate

PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
HOST_ATTEMPTS = 20
"""How often a retry looks for an endpoint that has not failed this request yet, before it takes any. A look is cheap, and the
load balancer draws at random: where half of the endpoints have failed, five looks would miss the others in 3 % of cases."""

SAFE_RETRIES = ("connect-failure", "refused-stream", "reset-before-request")
"""Only where the request cannot have reached the application, so that repeating it is safe whatever it does. An instance
that is replaced under load costs no request this way."""
SAFE_ATTEMPTS = 2


def start(parts: Parts, name: str) -> Route:
    """A route with what `parts` say of it, that yet lacks a match and an action."""
    made = Route.FromString(parts.route)
    made.name = name
    return made


def to_clusters(route: Route, parts: Parts) -> RouteAction:
    """The action of `route`, which leads to clusters that are still to be named. What `parts` do not say is filled in."""
    action = _started(route, parts)
    # Told between sidecars, after this one has decided whether to try again; nobody else's.
    route.response_headers_to_remove.append(names.FAILURE)
    if not _says_retries(action):
        _retries(action.retry_policy, SAFE_RETRIES, SAFE_ATTEMPTS)
        of_application(action.retry_policy, SAFE_RETRIES)
        elsewhere(action.retry_policy)
    return action


def to_application(route: Route, parts: Parts) -> RouteAction:
    """As `to_clusters`, for the way from a sidecar to its own application.

    The one retry is for a kept connection that the application closed while it was idle, at the very moment it was
    used again: no byte of the request was sent then.
    """
    action = _started(route, parts)
    if not _says_retries(action):
        _retries(action.retry_policy, ("reset-before-request",), 1)
    return action


def of_application(policy: RetryPolicy, on: Iterable[str]) -> None:
    """Where `on` says so of connections, what became of that between a callee's sidecar and its application counts too: by itself, a
    caller's Envoy sees an answer of 503 there. A reset means any failure of a connection, as in Envoy.
    """
    counted = {"reset": ("connect-failure", "reset"), "connect-failure": ("connect-failure",)}
    found = dict.fromkeys(failure for each in on for failure in counted.get(each, ()))
    for failure in found:
        header = policy.retriable_headers.add(name=names.FAILURE)
        header.string_match.exact = failure
    if found:
        policy.retry_on += ",retriable-headers"


def elsewhere(policy: RetryPolicy) -> None:
    """Prefer endpoints that this request has not tried."""
    other = policy.retry_host_predicate.add()
    other.name = PREVIOUS_HOSTS
    pack(other.typed_config, PreviousHostsPredicate())
    policy.host_selection_retry_max_attempts = HOST_ATTEMPTS


def _started(route: Route, parts: Parts) -> RouteAction:
    action = route.route
    action.SetInParent()
    action.MergeFromString(parts.action)
    if not action.HasField("timeout"):
        # Envoy's own default is 15 s; zero is none. Long answers and streams are legitimate, and nobody asked for one.
        action.timeout.SetInParent()
        if not action.HasField("max_stream_duration"):
            # The caller's own `grpc-timeout` holds, however long (gRFC A31 for proxyless clients). Not beside a timeout, which Envoy
            # leaves alone where there is a stream duration.
            action.max_stream_duration.grpc_timeout_header_max.SetInParent()
    return action


def _says_retries(action: RouteAction) -> bool:
    """Whether parts say when to retry, and not only how long a try may take."""
    return bool(action.retry_policy.retry_on) or action.retry_policy.HasField("num_retries")


def _retries(policy: RetryPolicy, on: tuple[str, ...], attempts: int) -> None:
    policy.retry_on = ",".join(on)
    policy.num_retries.value = attempts
