"""What a proxy would be given, for a state of the mesh: only what is asked for is rendered, as it is for the proxy itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from envoy import names, on_demand
from envoy.render import Rendered, Renderer
from envoy.seams import NO_LISTENER_POLICIES, Called, ListenerSeams
from explain.resources import Held, Table
from mesh import facets
from mesh.gateway_secrets import Loaded
from mesh.gateway_views import gateway_scope, gateway_view
from mesh.names import Key
from mesh.state import MeshState
from mesh.transport import BY_SIDECARS
from mesh.views import (
    OutboundScope,
    endpoints_views,
    inbound_view,
    outbound_listeners_view,
    outbound_scope,
    scope_view,
    service_view,
)
from mesh.virtual import virtual_view
from mesh.workload import Workload
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from policies.calling import called_for_routes
from policies.weave import Weaver


@dataclass(frozen=True, slots=True)
class Workshop:
    """What renders, for one state. `loaded`: the Secret documents whose files gateways can read. `on_demand`: as the setting says."""

    state: MeshState
    renderer: Renderer
    weaver: Weaver
    loaded: Loaded
    on_demand: bool = False


class Rendering:
    """The resources of one proxy: `Resources`. `problems` are those of what was rendered so far, in words."""

    def __init__(self, shop: Workshop, workload: Workload) -> None:
        self._shop, self._workload = shop, workload
        self._table = Table()
        self._known: set[tuple[str, Key]] = set()
        self._hosts: dict[str, Key] | None = None
        self.problems: list[str] = []
        if workload.gateway is not None:
            self._scope, seams, listening = _edge(shop, workload, workload.gateway)
        else:
            self._scope, seams, listening = _sidecar(shop, workload)
        self._seams = seams
        self._add(listening)

    @property
    def scope_of_callers(self) -> OutboundScope:
        """What of the mesh the proxy sees."""
        return self._scope

    def listener(self, name: str) -> Held[Listener] | None:
        service = name.removeprefix("virtual/").rpartition(":")[0] if name.startswith("virtual/") else ""
        if "/" in service:
            self._virtual(Key.parse(service))
        return self._table.listener(name)

    def listeners(self) -> Iterator[Held[Listener]]:
        return self._table.listeners()

    def scope(self, key: str) -> Held[ScopedRouteConfiguration] | None:
        found = self._table.scope(key)
        if found is None and key in self._by_host():
            service = self._by_host()[key]
            view = scope_view(self._shop.state, service, self._scope.namespace)
            if view is not None:
                self._add(self._shop.renderer.scopes(view))
        return self._table.scope(key)

    def routes(self, name: str) -> Held[RouteConfiguration] | None:
        self._named(name)
        return self._table.routes(name)

    def cluster(self, name: str) -> Held[Cluster] | None:
        self._named(name)
        return self._table.cluster(name)

    def endpoints(self, cluster: str) -> Held[ClusterLoadAssignment] | None:
        called = names.called(cluster)
        if called is not None:
            self._endpoints(called[0])
        return self._table.endpoints(cluster)

    def _named(self, name: str) -> None:
        """Render what `name`, that of a cluster or of routes, is part of."""
        called = names.called(name)
        if called is not None:
            self._service(called[0])
        elif name.count("/") == 1 and ":" not in name:
            self._service(Key.parse(name))

    def _by_host(self) -> dict[str, Key]:
        if self._hosts is None:
            state, space = self._shop.state, self._scope.namespace
            self._hosts = {
                host: key
                for key in state.services
                if self._scope.admits(key) and (view := scope_view(state, key, space)) is not None
                for host in (view.hosts or [each for _, each in names.scopes(key, space)])
            }
        return self._hosts

    def _once(self, what: str, service: Key) -> bool:
        if (what, service) in self._known:
            return False
        self._known.add((what, service))
        return service in self._shop.state.services and self._scope.admits(service)

    def _service(self, service: Key) -> None:
        if self._once("service", service):
            shop, scope = self._shop, self._scope
            view = service_view(shop.state, service, scope.namespace, scope.certificate, edge=scope.edge)
            self._add(shop.renderer.service(view, shop.weaver.service(shop.state, scope, view)))

    def _endpoints(self, service: Key) -> None:
        if self._once("endpoints", service):
            shop, scope = self._shop, self._scope
            spread = shop.weaver.spread(shop.state, scope, service)
            how = shop.weaver.called(shop.state, service, BY_SIDECARS)
            views = endpoints_views(shop.state, service, spread, scope.locality, how)
            self._add(shop.renderer.endpoints(each) for each in views)

    def _virtual(self, service: Key) -> None:
        if self._workload.interception is not None and self._once("virtual", service):
            view = virtual_view(self._shop.state, service, self._scope.namespace)
            if view is not None:
                self._add(self._shop.renderer.virtual(view, replace(self._seams, inbound=())))

    def _add(self, rendered: Iterable[Rendered]) -> None:
        for each in rendered:
            self._table.add_encoded(each.type_url, each.name, each.body, each.origin)
            if each.problem is not None:
                self.problems.append(f"{each.name} would be refused by Envoy and is not sent: {each.problem}")
            self.problems.extend(f"{by} is left out of {each.name}: {why}" for by, why in each.unpatched)


def _sidecar(shop: Workshop, workload: Workload) -> tuple[OutboundScope, ListenerSeams, tuple[Rendered, ...]]:
    state, weaver = shop.state, shop.weaver
    inbound = inbound_view(state, workload)
    seams = weaver.listeners(state, workload, inbound)
    scope = outbound_scope(state, workload)
    called = seams.called() | called_for_routes(state, scope)
    scope = facets.that_matter(state, _calling(scope, called), weaver.by_callers)
    if shop.on_demand if workload.on_demand is None else workload.on_demand:
        seams = on_demand.discovering(seams)
    outbound = shop.renderer.outbound_listeners(outbound_listeners_view(state, workload), seams)
    return scope, seams, (*outbound, *shop.renderer.inbound(inbound, seams))


def _edge(
    shop: Workshop, workload: Workload, gateway: Key
) -> tuple[OutboundScope, ListenerSeams, tuple[Rendered, ...]]:
    state = shop.state
    view = gateway_view(state, gateway, workload, shop.loaded)
    caller = facets.of_kinds(outbound_scope(state, workload), shop.weaver.by_callers)
    scope = gateway_scope(state, caller, view)
    seams = shop.weaver.gateway(state, workload, view, scope.facets)
    return _calling(scope, seams.called()), NO_LISTENER_POLICIES, shop.renderer.gateway(view, seams)


def _calling(scope: OutboundScope, called: Iterable[Called]) -> OutboundScope:
    """Widened by the services that the proxy itself calls for a policy."""
    if scope.services is None:
        return scope
    return replace(scope, services=tuple(sorted({*scope.services, *(each.service for each in called)})))
