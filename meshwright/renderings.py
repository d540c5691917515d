"""What the scopes are rendered from: the one way from a scope and an edition to Envoy's resources, for what is sent and for what is only tried."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.render import Rendered, Renderer
from mesh.direct import direct_views
from mesh.names import Key
from mesh.transport import BY_OTHERS, BY_SIDECARS
from mesh.views import endpoints_views, scope_view, service_view
from mesh.virtual import virtual_view
from meshwright.editions import Edition
from meshwright.scopes import Captured, Edge, Local, Outbound, Proxyless


def of_service(
    renderer: Renderer, edition: Edition, scope: Outbound | Proxyless, key: Key
) -> Iterable[Rendered]:
    """Clusters, routes and scopes of a service that there is, as callers of `scope` see it."""
    state = edition.state
    view = service_view(state, key, scope.view.namespace, scope.view.certificate, edge=scope.view.edge)
    if isinstance(scope, Proxyless):
        return renderer.proxyless_service(view, scope.view.namespace)
    names = scope_view(state, key, scope.view.namespace)
    return (
        *renderer.service(view, edition.weaver.service(state, scope.view, view)),
        *(renderer.scopes(names) if names is not None else ()),
    )


def of_endpoints(
    renderer: Renderer, edition: Edition, scope: Outbound | Proxyless, key: Key
) -> Iterable[Rendered]:
    """The fast lane: no constraint of an endpoint is checked here, for `documents` and `discovery` did."""
    state, weaver = edition.state, edition.weaver
    if isinstance(scope, Proxyless):
        views = endpoints_views(state, key, called=weaver.called(state, key, BY_OTHERS))
        return [renderer.proxyless_endpoints(view) for view in views]
    spread = weaver.spread(state, scope.view, key)
    how = weaver.called(state, key, BY_SIDECARS)
    views = endpoints_views(state, key, spread, scope.view.locality, how)
    return [renderer.endpoints(view) for view in views]


def of_address(renderer: Renderer, edition: Edition, scope: Captured, key: Key) -> Iterable[Rendered]:
    """The listeners of the virtual address of a service that there is."""
    view = virtual_view(edition.state, key, scope.namespace)
    return () if view is None else renderer.virtual(view, scope.seams)


def of_direct(renderer: Renderer, edition: Edition, scope: Captured, key: Key) -> Iterable[Rendered]:
    """The listeners of the endpoints' own addresses, of a headless service."""
    called = edition.weaver.called(edition.state, key, BY_SIDECARS)
    return [renderer.direct(view, scope.seams) for view in direct_views(edition.state, key, called)]


def listening(renderer: Renderer, scope: Local | Edge) -> Iterable[Rendered]:
    """What a proxy listens on, and what belongs to that. The scope itself is the whole input."""
    if isinstance(scope, Edge):
        return renderer.gateway(scope.view, scope.seams)
    return (
        *renderer.outbound_listeners(scope.listeners, scope.seams),
        *renderer.inbound(scope.inbound, scope.seams),
    )
