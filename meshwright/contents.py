"""What each scope in use contains, and what of it changes.

A service that is concerned is rendered again and compared with what the scope held: only what differs is published. Where Envoy
would refuse a rendering, what the scope holds stays, and `problems` says why. No I/O, no clock.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from envoy import gateways, names
from envoy.render import Rendered, Renderer
from mesh.direct import accounts
from mesh.events import Changes
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import EndpointsView, endpoints_views
from mesh.virtual import virtual_view
from meshwright import renderings
from meshwright.captured import Addresses, Made, Names, leads_to
from meshwright.certificates import CertificateStore
from meshwright.editions import Edition, Editions
from meshwright.problems import Problems, of_workload
from meshwright.scopes import (
    BASE,
    Authorities,
    Captured,
    Edge,
    EdgeSecrets,
    Local,
    Outbound,
    Peers,
    Proxyless,
    Runtime,
    Scope,
    Secrets,
    Undiscovered,
    clusters_of,
    edition_of,
)
from meshwright.seeing import Seeing
from meshwright.sizes import Asides, ScopeSize, scope_sizes
from xds.cache import ScopeChange
from xds.resource import Name, Resource, encode
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE


@dataclass(slots=True)
class Difference:
    """What brings a scope from what it held to what it holds now."""

    put: list[Resource] = field(default_factory=list)
    removed: list[Name] = field(default_factory=list)

    def settle(self, contents: dict[Key, Made], service: Key, after: Made) -> None:
        """`after` is what `contents` has of `service` from now on; empty: nothing."""
        before = contents.get(service, {})
        self.put.extend(each for name, each in after.items() if before.get(name) != each)
        self.removed.extend(name for name in before if name not in after)
        if after:
            contents[service] = after
        else:
            contents.pop(service, None)

    def change(self, scope: Scope) -> ScopeChange | None:
        """None where nothing of `scope` changed."""
        # What one service has lost another may have now: a host name outside leads to one of those that claim it.
        moved = {(each.type_url, each.name) for each in self.put}
        gone = tuple(name for name in self.removed if name not in moved)
        return ScopeChange(scope, put=tuple(self.put), removed=gone) if self.put or gone else None


class Contents:
    """By scope and service, the resources that are sent. Of secrets nothing is held: keys stay where they are kept."""

    def __init__(
        self,
        renderer: Renderer,
        editions: Editions,
        certificates: CertificateStore,
        problems: Problems,
    ) -> None:
        self._renderer = renderer
        self._editions = editions
        self._certificates = certificates
        self._problems = problems
        self._of: dict[Scope, dict[Key, Made]] = {}
        self._names: dict[Captured, Names] = {}
        self._addresses: dict[Captured, Addresses] = {}
        self._seeing = Seeing()
        # As long as a scope holds the resource, equal renderings share it.
        self._encoded: WeakValueDictionary[tuple[Rendered, bool], Resource] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, scope: Scope) -> bool:
        return scope in self._of

    def editions(self) -> set[str]:
        """Of which some scope is."""
        return {edition_of(scope) for scope in self._of}

    def version_of(self, scope: Scope, service: Key, name: Name) -> str:
        """Of a resource that is there."""
        return self._of[scope][service][name].version

    def all_of(self, scope: Scope) -> Iterator[Resource]:
        for made in self._of.get(scope, {}).values():
            yield from made.values()

    def service_of(self, scope: Scope, name: Name) -> Key | None:
        """Which service's entry of `scope` holds the resource `name`."""
        return next((key for key, made in self._of.get(scope, {}).items() if name in made), None)

    def sizes(self, state: MeshState) -> dict[Scope, ScopeSize]:
        """For each scope of callers, what it shows of `state`."""
        return scope_sizes(self._of, len(state.services))

    def asides(self, scope: Scope) -> Asides:
        """Of the clusters that `scope` gives on request, what each costs."""
        return Asides.of(self._of.get(scope, {}))

    def open(self, scope: Scope, workload: Key, client: str) -> Iterator[ScopeChange]:
        """Fill `scope`, for `client`, a stream of `workload`, which is told of what is wrong with listeners of its own."""
        self._seeing.add(scope)
        match scope:
            case Outbound(view=view) | Proxyless(view=view):
                edition, twin = self._twin(scope)
                services = edition.state.services if view.services is None else view.services
                every = frozenset(key for key in services if key in edition.state.services)
                if twin is not None:
                    every = self._differing(edition, view.services)
                made = self._services(edition, scope, every, every)
                yield ScopeChange(
                    scope, tuple(made.put), tuple(made.removed), replace=twin is None, like=twin
                )
            case Captured(services=some):
                edition, twin = self._twin(scope)
                if isinstance(twin, Captured):
                    self._names[scope] = Names(self._names[twin])
                    self._addresses[scope] = Addresses(self._addresses[twin])
                else:
                    self._names[scope], self._addresses[scope] = Names(), Addresses()
                every = frozenset(edition.state.services if some is None else some)
                if twin is not None:
                    every = self._differing(edition, some)
                made = self._capture(edition, scope, every, every)
                yield ScopeChange(
                    scope, tuple(made.put), tuple(made.removed), replace=twin is None, like=twin
                )
            case Local(seams=seams):
                listening = self._checked(
                    scope,
                    of_workload(workload),
                    lambda: renderings.listening(self._renderer, scope),
                    clusters_of(seams.called()),
                    refused_to=client,
                )
                yield from self._listening(scope, workload, listening)
            case Edge(gateway, of_edge):
                listening = self._checked(
                    scope,
                    f"gateway {gateway.key} of workload {workload}",
                    lambda: renderings.listening(self._renderer, scope),
                    (*gateways.clusters(gateway), *clusters_of(of_edge.called())),
                    refused_to=client,
                )
                yield from self._listening(scope, workload, listening)
            case Peers():
                self._of[scope] = {}
                yield from self._peers(self._editions[scope.edition].state, scope)
            case EdgeSecrets() | Authorities():
                self._of[scope] = {}
                yield self._kept(scope)
            case Runtime(watching):
                self._of[scope] = {}
                told = self._resource(self._renderer.runtime(watching=watching), ())
                yield ScopeChange(scope, put=(told,), replace=True)
            case Secrets() | Undiscovered():
                return

    def refresh(self, changes: Changes) -> Iterator[ScopeChange]:
        """Bring what the scopes hold of the services of `changes` up to date, each with the state of its edition."""
        for scope, touched in self._seeing.of(changes.services | changes.endpoints):
            change: ScopeChange | None = None
            edition = self._editions[edition_of(scope)]
            if isinstance(scope, Outbound | Proxyless):
                change = self._services(edition, scope, touched, changes.services).change(scope)
            elif isinstance(scope, Captured):
                change = self._capture(edition, scope, touched, changes.services).change(scope)
            elif isinstance(scope, Peers):
                yield from self._peers(edition.state, scope)
            if change is not None:
                yield change

    def renewed(self, secrets: frozenset[Key]) -> Iterator[ScopeChange]:
        """What the scopes that may hold one of `secrets` hold of them now."""
        for scope in self._of:
            if isinstance(scope, EdgeSecrets | Authorities) and not secrets.isdisjoint(scope.secrets):
                yield self._kept(scope)

    def drop(self, scope: Scope) -> None:
        """Nobody uses `scope` any more."""
        self._of.pop(scope, None)
        self._seeing.remove(scope)
        self._problems.forget(scope)
        match scope:
            case Captured():
                self._names.pop(scope, None)
                self._addresses.pop(scope, None)
            case Outbound(view=view, edition=edition):
                self._editions[edition].weaver.forget_scope(view)
            case _:
                pass

    def _twin(self, scope: Outbound | Proxyless | Captured) -> tuple[Edition, Scope | None]:
        """The edition of `scope`; and the same scope of the base, from which it begins, if there is one: only what differs is rendered then."""
        edition = self._editions[scope.edition]
        twin = replace(scope, edition=BASE)
        begins = edition is not self._editions.base and twin in self._of
        self._of[scope] = dict(self._of[twin]) if begins else {}
        return edition, twin if begins else None

    @staticmethod
    def _differing(edition: Edition, some: Collection[Key] | None) -> frozenset[Key]:
        return frozenset(edition.differs if some is None else edition.differs.intersection(some))

    # One way for each sort of scope

    def _listening(self, scope: Scope, workload: Key, made: Made | None) -> Iterator[ScopeChange]:
        """A scope whose listeners Envoy would refuse is not opened."""
        if made is not None:
            self._of[scope] = {workload: made}
            yield ScopeChange(scope, put=tuple(made.values()), replace=True)

    def _kept(self, scope: EdgeSecrets | Authorities) -> ScopeChange:
        """The secrets that `scope` may hold: for callers that verify backends, authorities only."""
        kept = self._certificates.resources(scope.certificates, scope.bundles)
        return ScopeChange(scope, put=kept, replace=True)

    def _peers(self, state: MeshState, scope: Peers) -> Iterator[ScopeChange]:
        """What a proxy's bootstrap names its own cluster: the endpoints of the first port of its service."""
        service = scope.service

        def render() -> Iterable[Rendered]:
            view: EndpointsView | None = None
            if service is not None and service in state.services:
                view = next(endpoints_views(state, service), None)
            return [self._renderer.peers(view)]

        made = self._checked(scope, f"peers of {service}", render)
        if made is not None:
            yield ScopeChange(scope, put=tuple(made.values()), replace=True)

    def _services(
        self,
        edition: Edition,
        scope: Outbound | Proxyless,
        touched: Iterable[Key],
        changed: frozenset[Key],
    ) -> Difference:
        """Bring the entries of the services in `touched` up to date: of those in `changed` all, of others the endpoints."""
        difference, contents, state = Difference(), self._of[scope], edition.state
        for key in touched:
            after: Made | None = {}
            if key not in state.services:
                self._problems.gone(scope, f"service {key}")
                self._problems.gone(scope, f"endpoints of service {key}")
                if isinstance(scope, Outbound):
                    edition.weaver.forget_service(scope.view, key)
            elif key in changed or key not in contents:
                after = self._service(edition, scope, key)
            else:
                endpoints = self._endpoints(edition, scope, key)
                after = None if endpoints is None else contents[key] | endpoints
            if after is not None:
                difference.settle(contents, key, after)
        return difference

    def _service(self, edition: Edition, scope: Outbound | Proxyless, key: Key) -> Made | None:
        render = functools.partial(renderings.of_service, self._renderer, edition, scope, key)
        aside = frozenset[str]()
        if isinstance(scope, Outbound):
            aside = edition.at_once.on_request(edition.state, key)
        made = self._checked(scope, f"service {key}", render, on_request=aside)
        endpoints = self._endpoints(edition, scope, key) if made is not None else None
        return None if made is None or endpoints is None else made | endpoints

    def _endpoints(self, edition: Edition, scope: Outbound | Proxyless, key: Key) -> Made | None:
        render = functools.partial(renderings.of_endpoints, self._renderer, edition, scope, key)
        return self._checked(scope, f"endpoints of service {key}", render)

    def _capture(
        self, edition: Edition, scope: Captured, touched: Iterable[Key], changed: frozenset[Key]
    ) -> Difference:
        """Bring the addresses and names of the services in `touched` up to date: of those in `changed` all, of others those of endpoints."""
        state, contents, addresses = edition.state, self._of[scope], self._addresses[scope]
        virtual = {key: self._virtual(edition, scope, key) for key in touched if key in changed}
        concerned = set(virtual)
        for key in touched:
            service = state.services.get(key)
            direct: Made | None = {}
            if service is not None and service.headless:
                render = functools.partial(renderings.of_direct, self._renderer, edition, scope, key)
                clusters = [
                    names.direct_cluster(key, port.port, account)
                    for port in service.ports
                    for account, _ in accounts(state, key)
                ]
                direct = self._checked(scope, f"addresses of endpoints of service {key}", render, clusters)
            else:
                self._problems.gone(scope, f"addresses of endpoints of service {key}")
            if direct is not None:
                concerned |= addresses.put(key, direct)
        difference = Difference()
        for key in concerned:
            of_service = virtual.get(key)
            if of_service is None:
                of_service = {
                    name: each for name, each in contents.get(key, {}).items() if not _is_direct(name)
                }
            difference.settle(contents, key, of_service | addresses.held(key))
        if self._names[scope].take_change():
            entries = self._names[scope].entries()
            table = self._renderer.dns_listener(scope.dns_port, entries, ipv6=scope.ipv6)
            difference.put.append(self._resource(table, ()))
        return difference

    def _virtual(self, edition: Edition, scope: Captured, key: Key) -> Made | None:
        """The listeners of the virtual address of a service, whose names are brought up to date; None: what it has stays."""
        state, subject = edition.state, f"virtual address of service {key}"
        try:
            view = virtual_view(state, key, scope.namespace) if key in state.services else None
            called = self._renderer.names(view).body if view is not None else b""
        except Exception as error:  # noqa: BLE001 (one service that cannot be rendered must not end the mesh's control plane)
            self._problems.refuse(scope, subject, _cannot_be_rendered(error))
            return None
        made: Made | None = {}
        if view is not None:
            render = functools.partial(self._renderer.virtual, view, scope.seams)
            made = self._checked(scope, subject, render, leads_to(view))
        else:
            self._problems.gone(scope, subject)
        if made is not None:
            self._names[scope].put(key, called)
        return made

    # From renderings to resources

    def _checked(
        self,
        scope: Scope,
        subject: str,
        render: Callable[[], Iterable[Rendered]],
        leads_to: Sequence[str] = (),
        refused_to: str | None = None,
        on_request: frozenset[str] = frozenset(),
    ) -> Made | None:
        """What `render` makes for `scope`, as resources; None, with the reason in `problems`, if Envoy would refuse one of them.

        `leads_to`: clusters rendered elsewhere that it leads to. `refused_to`: the client that then stays where it is; None: all that have
        `scope` keep what they have. `on_request`: clusters that can wait until they are asked for.
        """
        holder = refused_to or scope
        try:
            rendered = tuple(render())
        except Exception as error:  # noqa: BLE001 (one service that cannot be rendered must not end the mesh's control plane)
            self._problems.refuse(holder, subject, _cannot_be_rendered(error))
            return None
        problem = next((each.problem for each in rendered if each.problem is not None), None)
        if problem is not None:
            self._problems.refuse(holder, subject, problem)
            return None
        self._problems.mended(holder, subject)
        left_out = {
            f"EnvoyPatch {by} at {subject}": f"{each.name}: left out: {why}"
            for each in rendered
            for by, why in each.unpatched
        }
        self._problems.leave_out(scope, subject, left_out)
        made: Made = {}
        # Make before break: who is sent to a cluster is told of it when the cluster and its endpoints were acknowledged.
        clusters = tuple(
            (kind, name)
            for name in (*leads_to, *(each.name for each in rendered if each.type_url == CLUSTER))
            for kind in (CLUSTER, ENDPOINT)
        )
        for each in rendered:
            needs = clusters if each.type_url in {ROUTE, SCOPED_ROUTE, LISTENER} else ()
            aside = each.type_url == CLUSTER and each.name in on_request
            made[each.type_url, each.name] = self._resource(each, each.origin, needs, on_request=aside)
        return made

    def _resource(
        self,
        rendered: Rendered,
        origin: tuple[str, ...],
        needs: tuple[Name, ...] = (),
        *,
        on_request: bool = False,
    ) -> Resource:
        """Encoded once; the provenance of an equal rendering may have moved meanwhile."""
        found = self._encoded.get((rendered, on_request))
        if found is None:
            found = encode(
                rendered.type_url, rendered.name, rendered.body, origin, needs, on_request=on_request
            )
            self._encoded[rendered, on_request] = found
        return found if found.origin == origin else replace(found, origin=origin)


def _is_direct(name: Name) -> bool:
    return name[1].startswith(names.DIRECT)


def _cannot_be_rendered(error: Exception) -> str:
    return f"it cannot be rendered: {type(error).__name__}: {error}"
