"""Which clusters proxies need before a request asks for them, where they have clusters on demand.

Envoy looks for the cluster of an HTTP request alone. What connections, copies of requests and questions to authorizers go to has to be
there. No I/O, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from envoy import names
from mesh.names import Key
from mesh.references import lookup
from mesh.routes import Backend, BackendKind, Route, RouteKind, referred
from mesh.state import MeshState

BY_REQUEST = frozenset({RouteKind.HTTP, RouteKind.GRPC})


class AtOnce:
    """The services that are needed at once because of routes, kept up to date with the services that a change concerns."""

    def __init__(self, state: MeshState, like: AtOnce | None = None) -> None:
        """With `like`, it knows what that knows, to be told what differs in `state`."""
        self._by_routes_of: dict[Key, frozenset[Key]] = {}
        self._needed: Counter[Key] = Counter()
        if like is None:
            self.refresh(state, state.routing.attached)
        else:
            self._by_routes_of.update(like._by_routes_of)  # noqa: SLF001 (one of its own kind)
            self._needed.update(like._needed)  # noqa: SLF001

    def refresh(self, state: MeshState, changed: Iterable[Key]) -> frozenset[Key]:
        """Look at the routes of the services `changed` again: of which services the answer is another now."""
        moved = set[Key]()
        for service in changed:
            before = self._by_routes_of.pop(service, frozenset())
            after = frozenset(_needed(state, state.routing.attached.get(service, ())))
            if after:
                self._by_routes_of[service] = after
            for key in before ^ after:
                had = key in self._needed
                self._needed[key] += 1 if key in after else -1
                if not self._needed[key]:
                    del self._needed[key]
                if had != (key in self._needed):
                    moved.add(key)
        return frozenset(moved)

    def on_request(self, state: MeshState, key: Key) -> frozenset[str]:
        """The clusters of a service that can wait until a request needs them. Hosts behind a wildcard are resolved before that."""
        service = state.services[key]
        if key in self._needed or (service.external is not None and service.external.wildcard):
            return frozenset()
        return frozenset(
            names.cluster(key, port.port, subset)
            for port in service.ports
            if port.protocol.is_http
            for subset in ("", *(each.key.name for each in state.subsets_of(key)))
        )


def _needed(state: MeshState, routes: Iterable[Route]) -> Iterator[Key]:
    for route in routes:
        for backend in _backends(route):
            subset = lookup(state).subsets(backend.key) if backend.kind is BackendKind.SUBSET else None
            yield backend.key if subset is None else subset.service


def _backends(route: Route) -> Iterator[Backend]:
    if route.kind not in BY_REQUEST:
        yield from route.backends()
        return
    for rule in route.rules:
        yield from referred(rule.filters)
        for backend in rule.backends:
            yield from referred(backend.filters)
