"""Which routes each listener of a gateway follows.

https://gateway-api.sigs.k8s.io/reference/spec/#grpcroutespec, hostnames: of an HTTPRoute and a GRPCRoute at one listener that have a
host name in common, the older is accepted, and the other is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.attachment import NotAttached, listeners
from mesh.gateways import Gateway, GatewayListener, ListenerSet, Place
from mesh.listener_sets import joined
from mesh.names import Key
from mesh.namespaces import labels_in
from mesh.precedence import age
from mesh.routes import ParentKind, Route, RouteKind
from mesh.state import MeshState

ANY = "*"
"""Every host name."""

RIVALS = {RouteKind.HTTP: RouteKind.GRPC, RouteKind.GRPC: RouteKind.HTTP}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A route at one listener. `hosts` are those that both have; never none, ANY for every name.

    `rival`: a route that takes its place there; the listener does not follow it then.
    """

    listener: GatewayListener
    route: Route
    hosts: tuple[str, ...]
    rival: Route | None = None


def followed(state: MeshState, gateway: Gateway) -> tuple[Attachment, ...]:
    """Every route at every listener that follows it, the oldest first."""
    return tuple(each for each in attachments(state, gateway) if each.rival is None)


def attachments(state: MeshState, gateway: Gateway) -> Iterator[Attachment]:
    """Every route at every listener of `gateway` and its sets that takes it, each once, the oldest first; those that have a rival too.

    Of listeners that are conflicted, too: a route is attached to them, though nothing is served there.
    """
    claims, declaring, labels = _Claims(), _declaring(state, gateway), labels_in(state)
    for route in sorted(state.edges.routes(gateway.key), key=age):
        seen: set[Place] = set()
        for parent in route.parents:
            declares = declaring.get((parent.kind, parent.key))
            if declares is None:
                continue
            found = listeners(route, parent, declares, labels)
            for each in () if isinstance(found, NotAttached) else found:
                if each.listener.place not in seen:
                    seen.add(each.listener.place)
                    hosts = each.hostnames or (ANY,)
                    rival = claims.taken(each.listener.place, route, hosts)
                    yield Attachment(each.listener, route, hosts, rival)


def _declaring(state: MeshState, gateway: Gateway) -> dict[tuple[ParentKind, Key], Gateway | ListenerSet]:
    """What declares listeners of `gateway`: by itself, and the sets that it takes."""
    found: dict[tuple[ParentKind, Key], Gateway | ListenerSet] = {
        (ParentKind.LISTENER_SET, each.set.key): each.set for each in joined(state, gateway)
    }
    return {(ParentKind.GATEWAY, gateway.key): gateway, **found}


def wider(host: str) -> Iterator[str]:
    """`host`, and every wildcard that means it, the most specific first; ANY is the last."""
    yield host
    rest = host.removeprefix("*.")
    while (dot := rest.find(".")) >= 0:
        rest = rest[dot + 1 :]
        yield f"*.{rest}"
    if host != ANY:
        yield ANY


class _Claims:
    """Who has which hosts so far, so that each further route costs what it says itself."""

    def __init__(self) -> None:
        self._said: dict[tuple[Place, RouteKind, str], Route] = {}
        self._within: dict[tuple[Place, RouteKind, str], Route] = {}

    def taken(self, listener: Place, route: Route, hosts: tuple[str, ...]) -> Route | None:
        """The route of the other kind that has one of `hosts` already; if there is none, they are `route`'s from now on."""
        other = RIVALS.get(route.kind)
        if other is None:
            return None
        for host in hosts:
            # What means this host, and what this host means.
            for key in ((listener, other, each) for each in wider(host)):
                if key in self._said:
                    return self._said[key]
            if (listener, other, host) in self._within:
                return self._within[listener, other, host]
        for host in hosts:
            self._said.setdefault((listener, route.kind, host), route)
            for each in wider(host):
                self._within.setdefault((listener, route.kind, each), route)
        return None
