"""From the views of the mesh to encoded resources: each whole input is rendered, checked and encoded once."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from google.protobuf.message import Message

from envoy import capture, clusters, dns, fallback, gateways, listeners, packing, reported, routes, scopes
from envoy.check import check
from envoy.endpoints import load_assignment, peers, reachable_without_sidecar
from envoy.errors import EnvoyError
from envoy.patches import Patch, applied
from envoy.seams import (
    NO_GATEWAY_POLICIES,
    NO_LISTENER_POLICIES,
    NO_POLICIES,
    ExtraResource,
    GatewaySeams,
    ListenerSeams,
    ServiceSeams,
)
from mesh.direct import DirectView
from mesh.gateway_views import GatewayView
from mesh.routes import RouteKind
from mesh.service import Protocol
from mesh.views import EndpointsView, InboundView, OutboundListenersView, ScopeView, ServiceView
from mesh.virtual import VirtualView

CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rendered:
    """A resource, encoded: `body` is the serialised message, the same bytes for equal inputs.

    `problem`, if any, says why Envoy would refuse it: it is not to be sent. `unpatched`: patches that were left out because Envoy would
    refuse what they make of it, by policy, with the reason. `origin` is provenance, no part of the value.
    """

    type_url: str
    name: str
    body: bytes
    problem: str | None = None
    unpatched: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    origin: tuple[str, ...] = field(default=(), compare=False)


class Renderer:
    """Renders, and remembers what it rendered by the whole input, up to `cache_bytes` of resources, least recently used
    ones leaving first.

    `renderings` counts the calls that found nothing remembered, by method. Safe to use from several threads.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self.renderings: Counter[str] = Counter()
        self._cache_bytes = cache_bytes
        self._held = 0
        self._made: OrderedDict[Hashable, _Made] = OrderedDict()
        self._lock = threading.Lock()

    def service(self, view: ServiceView, seams: ServiceSeams = NO_POLICIES) -> tuple[Rendered, ...]:
        """A service as callers see it: a cluster for each port and subset, and its route configurations."""
        return self._once("service", (view, seams), view.origin, lambda: _service(view, seams))

    def endpoints(self, view: EndpointsView) -> Rendered:
        """The ClusterLoadAssignment of one port. Its constraints are not checked: this is the fast lane."""
        return self._once(
            "endpoints", view, view.origin, lambda: (_encoded(load_assignment(view), view.origin),)
        )[0]

    def scopes(self, view: ScopeView) -> tuple[Rendered, ...]:
        """The scoped routes by which callers of one namespace reach a service."""
        return self._once(
            "scopes", view, view.origin, lambda: _checked(scopes.scoped_routes(view), view.origin)
        )

    def outbound_listeners(
        self, view: OutboundListenersView, seams: ListenerSeams = NO_LISTENER_POLICIES
    ) -> tuple[Rendered, ...]:
        """The listeners for a workload's own calls."""
        origin = (*view.origin, *seams.outbound.origin)
        return self._once(
            "outbound_listeners",
            (view, seams),
            view.origin,
            lambda: (
                *_checked(capture.outbound_clusters(view), origin, seams.outbound.patches),
                *_checked(capture.outbound(view, seams), origin, seams.outbound.patches),
                *_checked(listeners.outbound(view, seams), origin, seams.outbound.patches),
                *_checked(fallback.resources(view, seams.outbound), origin, seams.outbound.patches),
                *_extra(seams.outbound.resources),
            ),
        )

    def virtual(self, view: VirtualView, seams: ListenerSeams = NO_LISTENER_POLICIES) -> tuple[Rendered, ...]:
        """The listeners of a service's virtual address."""
        return self._once(
            "virtual",
            (view, seams),
            view.origin,
            lambda: _checked(
                capture.virtual(view, seams), (*view.origin, *seams.outbound.origin), seams.outbound.patches
            ),
        )

    def direct(self, view: DirectView, seams: ListenerSeams = NO_LISTENER_POLICIES) -> Rendered:
        """The listener of an endpoint's own address."""
        return self._once(
            "direct",
            (view, seams),
            view.origin,
            lambda: _checked(
                (capture.direct(view, seams),), (*view.origin, *seams.outbound.origin), seams.outbound.patches
            ),
        )[0]

    def names(self, view: VirtualView) -> Rendered:
        """The entries of a service in the table of names: a part of the listener that `dns_listener` makes, no resource."""
        return self._once("names", view, view.origin, lambda: _entry(view))[0]

    def dns_listener(self, port: int, entries: Iterable[bytes], *, ipv6: bool) -> Rendered:
        """The listener for queries that knows `entries`, the bodies of `names`. Never remembered: it is large, and of one scope."""
        return _encoded(dns.listener(port, entries, ipv6=ipv6), ())

    def inbound(self, view: InboundView, seams: ListenerSeams = NO_LISTENER_POLICIES) -> tuple[Rendered, ...]:
        """The listeners for calls to a workload, and the clusters of its application."""
        return self._once("inbound", (view, seams), view.origin, lambda: _inbound(view, seams))

    def gateway(self, view: GatewayView, seams: GatewaySeams = NO_GATEWAY_POLICIES) -> tuple[Rendered, ...]:
        """The listeners of a gateway, and a route configuration for each port that takes HTTP."""
        return self._once(
            "gateway",
            (view, seams),
            view.origin,
            lambda: (
                *_checked(gateways.listeners(view, seams), _with_ports(view, seams), seams.patches()),
                *_checked(gateways.routes(view, seams), _with_routes(view, seams), seams.patches()),
                *_extra(seams.resources()),
            ),
        )

    def proxyless_service(self, view: ServiceView, caller_namespace: str) -> tuple[Rendered, ...]:
        """`service` for gRPC clients that speak xDS themselves: API listeners, routes and clusters that they take."""
        return self._once(
            "proxyless_service",
            (view, caller_namespace),
            view.origin,
            lambda: _checked(_proxyless(view, caller_namespace), view.origin),
        )

    def proxyless_endpoints(self, view: EndpointsView) -> Rendered:
        """`endpoints` for such clients: those that can be reached without mesh TLS."""
        return self._once(
            "proxyless_endpoints",
            view,
            view.origin,
            lambda: (_encoded(reachable_without_sidecar(view), view.origin),),
        )[0]

    def peers(self, view: EndpointsView | None) -> Rendered:
        """The endpoints of a proxy's own service; None: it has none, or nobody needs to know."""
        origin = view.origin if view is not None else ()
        return self._once("peers", view, origin, lambda: (_encoded(peers(view), origin),))[0]

    def runtime(self, *, watching: bool) -> Rendered:
        """What a proxy's runtime says beside its bootstrap."""
        return self._once(
            "runtime", watching, (), lambda: (_encoded(reported.runtime(watching=watching), ()),)
        )[0]

    def _once(
        self, kind: str, value: Hashable, origin: tuple[str, ...], make: Callable[[], tuple[Rendered, ...]]
    ) -> tuple[Rendered, ...]:
        key = (kind, value)
        with self._lock:
            made = self._made.get(key)
            if made is not None:
                self._made.move_to_end(key)
        if made is None:
            made = _Made(origin, make())
            self._remember(kind, key, made)
        return made.seen_from(origin)

    def _remember(self, kind: str, key: Hashable, made: _Made) -> None:
        with self._lock:
            self.renderings[kind] += 1
            if key not in self._made:
                self._made[key] = made
                self._held += made.size
            while self._held > self._cache_bytes:
                _, oldest = self._made.popitem(last=False)
                self._held -= oldest.size


@dataclass(frozen=True, slots=True)
class _Made:
    """What was rendered, for an input whose provenance was `origin` then."""

    origin: tuple[str, ...]
    resources: tuple[Rendered, ...]

    @property
    def size(self) -> int:
        """Bytes, roughly: the resources, and as much again for the input they are remembered by."""
        return 256 + sum(2 * len(each.body) + 256 for each in self.resources)

    def seen_from(self, origin: tuple[str, ...]) -> tuple[Rendered, ...]:
        """The same resources; where they came from may have changed since, for it is no part of the input's value."""
        if origin == self.origin:
            return self.resources
        return tuple(
            replace(each, origin=origin) if each.origin == self.origin else each for each in self.resources
        )


def _service(view: ServiceView, seams: ServiceSeams) -> tuple[Rendered, ...]:
    def of_clusters() -> Iterator[Message]:
        for port in view.ports:
            for subset in ("", *(each.name for each in view.subsets)):
                yield clusters.outbound(view, port, seams.service, subset)
            if port.protocol is not Protocol.UDP:
                for account, identities in view.direct:
                    yield clusters.direct(view, port, account, identities, seams.service)

    def of_routes() -> Iterator[Message]:
        named = routes.by_authority(view, seams)
        if named is not None:
            yield named
        yield from routes.by_port(view, seams)
        for port in view.ports:
            for account, _ in view.direct if port.protocol.is_http else ():
                yield routes.direct(view, port, account, seams)

    rules = (rule for _, of_port in view.routes for rule in of_port)
    origin = tuple(dict.fromkeys((*view.origin, *seams.service.origin)))
    said = (*(each for rule in rules for each in rule.origin), *_of_rules(seams))
    return (
        *_checked(of_clusters(), origin, seams.service.patches),
        *_checked(of_routes(), tuple(dict.fromkeys((*origin, *said))), seams.service.patches),
        *_extra(seams.resources()),
    )


def _of_rules(seams: ServiceSeams) -> Iterator[str]:
    """The documents of what policies say of single rules."""
    for _, parts in seams.rules:
        yield from parts.origin


def _inbound(view: InboundView, seams: ListenerSeams) -> tuple[Rendered, ...]:
    said = dict.fromkeys(each for _, parts in seams.inbound for each in parts.origin)
    origin = (*view.origin, *said)
    applications = {
        (served.app_port, served.port.protocol, served.captured): None
        for port in view.ports
        for served in port.served
    }
    made = {
        cluster.name: cluster
        for cluster in (
            clusters.inbound(app_port, protocol, captured=captured)
            for app_port, protocol, captured in applications
        )
    }
    patches = tuple(seams.inbound_patches())
    return (
        *_checked(made.values(), origin, patches),
        *_checked(capture.inbound_clusters(view), origin, patches),
        *_checked(capture.inbound(view, seams), origin, patches),
        *_checked(capture.check_routes(view), origin, patches),
        *_checked(listeners.inbound(view, seams), origin, patches),
        *_checked(listeners.inbound_routes(view, seams), origin, patches),
        *_extra(each for each in seams.resources() if each not in seams.outbound.resources),
    )


def _entry(view: VirtualView) -> tuple[Rendered, ...]:
    table = dns.entry(view)
    check(table)
    body = table.SerializeToString(deterministic=True)
    return (Rendered(packing.type_url(type(table)), view.names[0], body, origin=view.origin),)


def _proxyless(view: ServiceView, caller_namespace: str) -> Iterator[Message]:
    if view.external is not None:
        return  # such clients ask for endpoints, and what is outside has none: they call it as anything outside
    """Of routes, GRPCRoutes alone: such a client takes no other matches than those have, and no filter it does not know
    (gRFC A28, A39).
    """
    for port in view.ports:
        if port.protocol.is_http:
            for subset in ("", *(each.name for each in view.subsets)):
                yield clusters.proxyless(view, port, subset)
    followed = tuple(
        (port, tuple(replace(rule, persistence=None) for rule in rules))
        for port, rules in view.routes
        if all(rule.route.kind == RouteKind.GRPC for rule in rules)
    )
    yield from routes.by_port(replace(view, routes=followed), NO_POLICIES)
    yield from listeners.api(view, caller_namespace)


def _with_ports(view: GatewayView, seams: GatewaySeams) -> tuple[str, ...]:
    """The documents of a gateway, and of what policies say of all that it takes on its ports."""
    return tuple(dict.fromkeys((*view.origin, *(each for _, parts in seams.ports for each in parts.origin))))


def _with_routes(view: GatewayView, seams: GatewaySeams) -> tuple[str, ...]:
    """Those, and the documents of all routes that it takes, with what policies say of them."""
    rules = (rule for port in view.ports for host in port.hosts for rule in host.rules)
    said = (*(each for rule in rules for each in rule.origin), *_of_rules(seams.routes))
    return tuple(dict.fromkeys((*_with_ports(view, seams), *said)))


def _extra(resources: Iterable[ExtraResource]) -> Iterator[Rendered]:
    for each in resources:
        yield Rendered(each.type_url, each.name, each.body, origin=each.origin)


def _checked(
    messages: Iterable[Message], origin: tuple[str, ...], patches: Iterable[Patch] = ()
) -> tuple[Rendered, ...]:
    made = []
    for message in messages:
        patched, unpatched = applied(message, _name(message), patches)
        encoded = _encoded(patched, origin)
        if unpatched:
            encoded = replace(encoded, unpatched=unpatched)
        try:
            check(patched)
        except EnvoyError as error:
            encoded = replace(encoded, problem=str(error))
        made.append(encoded)
    return tuple(made)


def _encoded(message: Message, origin: tuple[str, ...]) -> Rendered:
    return Rendered(
        packing.PREFIX + message.DESCRIPTOR.full_name,
        _name(message),
        message.SerializeToString(deterministic=True),
        origin=origin,
    )


def _name(message: Message) -> str:
    """A ClusterLoadAssignment is named by its cluster, everything else by its name."""
    field_name = "cluster_name" if "cluster_name" in message.DESCRIPTOR.fields_by_name else "name"
    return str(getattr(message, field_name))
