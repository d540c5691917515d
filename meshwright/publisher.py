"""From the state of the mesh to the scopes that streams are given.

Only scopes that a stream has are kept up to date, and of each only what changed: the work of a change is the
rendering of what it touches, once, and one entry in each scope that holds it. No I/O, no clock: the pipeline
calls it, and passes the time where it matters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from envoy import gateways
from envoy.render import Rendered, Renderer
from mesh import backend_tls, facets
from mesh.events import Changes
from mesh.gateway_views import NOTHING_LOADED, declared, gateway_scope, gateway_view, readable
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import (
    EndpointsView,
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
from meshwright.captured import Names, leads_to
from meshwright.certificates import CertificateStore, NoCertificates
from meshwright.problems import Problems
from meshwright.scopes import (
    Authorities,
    Captured,
    Edge,
    EdgeSecrets,
    Local,
    Outbound,
    Peers,
    Proxyless,
    Scope,
    Scopes,
    Secrets,
    Undiscovered,
)
from meshwright.seeing import Seeing
from meshwright.sizes import ScopeSize, scope_sizes
from policies.weave import Weaver
from xds.cache import ScopeChange
from xds.resource import Name, Resource, encode
from xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPED_ROUTE


@dataclass(slots=True)
class Attached:
    """A workload with open streams. `scopes` is what they are given now; `watched`, the services that decide it."""

    workload: Key
    proved: bool
    proxyless: bool
    scopes: tuple[Scope, ...] = ()
    watched: frozenset[Key] = frozenset()
    streams: int = 1


@dataclass(slots=True)
class Update:
    """What the xDS server has to do: publish `changes` at once, then move clients to other scopes."""

    changes: list[ScopeChange] = field(default_factory=list)
    rescoped: dict[str, tuple[Scope, ...]] = field(default_factory=dict)


class Publisher:
    """Holds which scopes are in use and what each contains.

    `problems` says, for each service or workload whose rendering Envoy would refuse, why: its last good resources
    stay in force. Of a policy that cannot be rendered somewhere, it says why it is left out there.
    """

    def __init__(
        self,
        state: MeshState,
        renderer: Renderer,
        weaver: Weaver | None = None,
        certificates: CertificateStore | None = None,
    ) -> None:
        self.state = state
        self._certificates = certificates or NoCertificates()
        self._problems = Problems()
        self._renderer = renderer
        self._weaver = weaver or Weaver()
        self._attached: dict[str, Attached] = {}
        self._watchers: dict[Key, set[str]] = {}
        self._scopes = Scopes()
        self._contents: dict[Scope, dict[Key, dict[Name, Resource]]] = {}
        self._names: dict[Captured, Names] = {}
        self._seeing = Seeing()
        self._users: dict[Scope, int] = {}
        self._idle_since: dict[Scope, float] = {}
        # As long as a scope holds the resource, equal renderings share it.
        self._encoded: WeakValueDictionary[Rendered, Resource] = WeakValueDictionary()

    @property
    def problems(self) -> dict[str, str]:
        """What is not sent, or left out, and why: by service, workload, or the place that a policy concerns."""
        return {**self._problems.refused, **self._weaver.problems, **self._problems.left_out}

    @property
    def policies_left_out(self) -> int:
        """At how many places a policy has no effect because of what is wrong with it there."""
        return len(self._weaver.problems) + len(self._problems.left_out)

    def sizes(self) -> dict[str, ScopeSize]:
        """What each client sees of the mesh, by its id."""
        sizes = scope_sizes(self._contents, len(self.state.services))
        return {
            client: sizes[scope]
            for client, attached in self._attached.items()
            for scope in attached.scopes
            if scope in sizes
        }

    # What the pipeline says

    def apply(self, state: MeshState, changes: Changes) -> Update:
        """Take `state`, which differs from the last by `changes`: both steps at once, for who has no other work."""
        update = self.refresh(state, changes)
        moved = self.rescope(state, sorted(self.concerned(changes)))
        update.changes += moved.changes
        update.rescoped |= moved.rescoped
        return update

    def refresh(self, state: MeshState, changes: Changes) -> Update:
        """The first step: take `state`, and bring what the scopes in use hold of the changed services up to date."""
        self.state = state
        update = Update()
        for scope, touched in self._seeing.of(changes.services | changes.endpoints):
            if isinstance(scope, Outbound | Proxyless):
                change = self._refresh(scope, self._contents[scope], touched, changes)
                if change is not None:
                    update.changes.append(change)
            elif isinstance(scope, Peers):
                update.changes.extend(self._peers(scope))
            elif isinstance(scope, Captured):
                put, removed = self._capture(scope, self._contents[scope], touched & changes.services)
                if put or removed:
                    update.changes.append(ScopeChange(scope, put=put, removed=removed))
        return update

    def concerned(self, changes: Changes) -> set[str]:
        """The clients that may have to be given other scopes."""
        clients: set[str] = set()
        for service in changes.services:
            clients |= self._watchers.get(service, set())
        clients.update(
            each for key in changes.workloads for each in client_ids(key) if each in self._attached
        )
        if changes.callers:
            clients.update(self._attached)
        return clients

    def rescope(self, state: MeshState, clients: Iterable[str]) -> Update:
        """The second step: give those of `clients` that are still here the scopes that `state` means for them."""
        self.state = state
        update = Update()
        for client in clients:
            if client in self._attached:
                self._rescope(client, update)
        return update

    def renewed(self, secrets: frozenset[Key]) -> Update:
        """Secret documents whose files were read, or are no longer: given to the gateways that may use them."""
        update = Update()
        for scope in self._contents:
            if isinstance(scope, EdgeSecrets | Authorities) and not secrets.isdisjoint(scope.secrets):
                put = self._kept(scope)
                update.changes.append(ScopeChange(scope, put=put, replace=True))
        for key in sorted(self.state.edges.everyone()):
            for client in client_ids(key):
                if client in self._attached:
                    self._rescope(client, update)
        return update

    def attach(self, workload: Key, *, proved: bool, proxyless: bool) -> tuple[tuple[Scope, ...], Update]:
        """A stream of `workload` has come: the scopes to give it, and what to publish first."""
        client, update = client_id(workload, proved=proved, proxyless=proxyless), Update()
        attached = self._attached.get(client)
        if attached is None:
            attached = Attached(workload, proved, proxyless)
            self._attached[client] = attached
            self._rescope(client, update)
            update.rescoped.pop(client, None)
        else:
            attached.streams += 1
        return attached.scopes, update

    def detach(self, client: str, now: float) -> None:
        """A stream has gone. Its scopes stay for a while: a proxy that lost its connection comes back at once."""
        attached = self._attached.get(client)
        if attached is None:
            return
        attached.streams -= 1
        if attached.streams <= 0:
            del self._attached[client]
            self._watch(client, attached, None, ())
            self._release(attached.scopes, now)
            self._problems.forget(client)
            if not any(each in self._attached for each in client_ids(attached.workload)):
                self._weaver.forget_workload(attached.workload)

    def sweep(self, now: float, after: float = 60.0) -> list[Scope]:
        """Forget the scopes that nobody has used for `after` seconds; the caller drops them from the cache."""
        gone = [scope for scope, since in self._idle_since.items() if now - since >= after]
        for scope in gone:
            del self._idle_since[scope]
            self._contents.pop(scope, None)
            self._seeing.remove(scope)
            self._problems.forget(scope)
            match scope:
                case Captured():
                    self._names.pop(scope, None)
                case Outbound(view):
                    self._weaver.forget_scope(view)
                case _:
                    pass
        self._scopes.forget(gone)
        return gone

    def scopes_in_use(self) -> int:
        return len(self._contents)

    # Which scopes a workload has

    def _rescope(self, client: str, update: Update) -> None:
        attached = self._attached[client]
        workload = self.state.workloads.get(attached.workload)
        if workload is None:
            self._problems.forget(client)
            self._weaver.forget_workload(attached.workload)
            if attached.scopes and not isinstance(attached.scopes[0], Undiscovered):
                # It was deregistered with its proxy still running: what it has serves while it drains.
                return
        wanted = self._wanted(client, attached, workload)
        scopes = wanted or attached.scopes or self._scopes.one((Undiscovered(attached.workload),))
        self._watch(client, attached, workload, scopes)
        if scopes == attached.scopes:
            if wanted and all(scope in self._contents for scope in scopes if isinstance(scope, Local | Edge)):
                self._problems.mended(client, _workload(attached.workload))
            return
        fresh = [scope for scope in scopes if scope not in self._contents]
        listening = tuple(scope for scope in fresh if isinstance(scope, Local | Edge))
        # The listeners first: if Envoy would refuse them, the client stays where it is and nothing else is opened for it.
        opened = [change for scope in listening for change in self._open(scope, client)]
        if attached.scopes and any(scope not in self._contents for scope in listening):
            # `problems` says why.
            self._scopes.forget(
                scope for scope in fresh if scope not in self._users and scope not in self._idle_since
            )
            return
        for scope in fresh:
            if scope not in listening:
                opened.extend(self._open(scope, client))
        if wanted and all(scope in self._contents for scope in listening):
            self._problems.forget(client)
        update.changes.extend(opened)
        for scope in scopes:
            self._users[scope] = self._users.get(scope, 0) + 1
            self._idle_since.pop(scope, None)
        self._release(attached.scopes)
        attached.scopes = scopes
        update.rescoped[client] = scopes

    def _wanted(self, client: str, attached: Attached, workload: Workload | None) -> tuple[Scope, ...]:
        """The scopes that the state of the mesh gives; none where they cannot be told, and `problems` says why."""
        try:
            return self._scopes.one(self._scopes_of(attached, workload))
        except Exception as error:  # noqa: BLE001 (one workload whose view cannot be made must not end the mesh's control plane)
            why = f"what it is given cannot be told: {type(error).__name__}: {error}"
            self._problems.refuse(client, _workload(attached.workload), why)
            return ()

    def _scopes_of(self, attached: Attached, workload: Workload | None) -> tuple[Scope, ...]:
        if workload is None:
            return (Undiscovered(attached.workload),)
        if attached.proxyless:
            # gRPC clients are not told of policies.
            scope = outbound_scope(self.state, workload)
            return (Proxyless(OutboundScope(scope.namespace, scope.services)),)
        # Nobody is woken by a change of a peer unless some policy goes by places.
        own = workload.services[0] if workload.services and self.state.policies.by_locality else None
        trusted = backend_tls.authorities(self.state)
        every = (Peers(own), *((Authorities(trusted),) if trusted else ()))
        if workload.gateway is not None:
            return (*self._edge(attached, workload, workload.gateway), *every)
        return (*self._sidecar(attached, workload), *every)

    def _sidecar(self, attached: Attached, workload: Workload) -> tuple[Scope, ...]:
        inbound = inbound_view(self.state, workload)
        seams = self._weaver.listeners(self.state, workload, inbound)
        local = Local(outbound_listeners_view(self.state, workload), inbound, seams)
        outbound = facets.that_matter(
            self.state, outbound_scope(self.state, workload), self._weaver.by_callers
        )
        scopes: tuple[Scope, ...] = (Outbound(outbound), local)
        if workload.interception is not None:
            of = workload.interception
            calls = replace(seams, inbound=())
            scopes += (Captured(outbound.namespace, outbound.services, of.dns_port, of.ipv6, calls),)
        return (*scopes, Secrets(workload.key)) if attached.proved else scopes

    def _edge(self, attached: Attached, workload: Workload, gateway: Key) -> tuple[Scope, ...]:
        """The scopes of a workload that plays `gateway`. Who has proved nothing has no keys, and so no listener that needs one."""
        loaded = self._certificates.loaded if attached.proved else NOTHING_LOADED
        view = gateway_view(self.state, gateway, workload, loaded)
        caller = facets.of_kinds(outbound_scope(self.state, workload), self._weaver.by_callers)
        outbound = gateway_scope(self.state, caller, view)
        seams = self._weaver.gateway(self.state, workload, view, outbound.facets)
        scopes: tuple[Scope, ...] = (Outbound(outbound), Edge(view, seams))
        if not attached.proved:
            return scopes
        found = declared(self.state, gateway)
        secrets = () if found is None else readable(self.state, found)
        return (*scopes, Secrets(workload.key), EdgeSecrets(gateway, secrets))

    def _watch(
        self, client: str, attached: Attached, workload: Workload | None, scopes: Iterable[Scope]
    ) -> None:
        """Remember which services decide the listeners of this client."""
        watched = frozenset[Key]()
        if workload is not None:
            # Of what it names, the ports decide its local listeners, and the routes what else it needs.
            watched = frozenset((*workload.services, *(use.service for use in workload.uses or ())))
            # Which routes are attached to what it reaches decides which policies can matter to it.
            watched |= {
                key for scope in scopes if isinstance(scope, Outbound) for key in scope.view.services or ()
            }
            # Of what a gateway leads to, also what is not there yet: whether it is, and its ports, decide the routes.
            watched |= {
                each.service for scope in scopes if isinstance(scope, Edge) for each in scope.view.backends()
            }
        for service in attached.watched - watched:
            left = self._watchers[service]
            left.discard(client)
            if not left:
                del self._watchers[service]
        for service in watched - attached.watched:
            self._watchers.setdefault(service, set()).add(client)
        attached.watched = watched

    def _release(self, scopes: Iterable[Scope], now: float | None = None) -> None:
        for scope in scopes:
            self._users[scope] -= 1
            if not self._users[scope]:
                del self._users[scope]
                self._idle_since[scope] = now if now is not None else 0.0

    # What a scope contains

    def _open(self, scope: Scope, client: str) -> Iterator[ScopeChange]:
        """Fill `scope`, for `client`, which is told of what is wrong with listeners of its own."""
        workload = self._attached[client].workload
        self._seeing.add(scope)
        match scope:
            case Outbound(view) | Proxyless(view):
                contents: dict[Key, dict[Name, Resource]] = {}
                self._contents[scope] = contents
                services = self.state.services if view.services is None else view.services
                every = frozenset(key for key in services if key in self.state.services)
                self._refresh(scope, contents, every, Changes(services=every, endpoints=every))
                put = tuple(each for of in contents.values() for each in of.values())
                yield ScopeChange(scope, put=put, replace=True)
            case Local(listeners, inbound, seams):
                made = self._checked(
                    scope,
                    _workload(workload),
                    lambda: (
                        *self._renderer.outbound_listeners(listeners, seams),
                        *self._renderer.inbound(inbound, seams),
                    ),
                    refused_to=client,
                )
                if made is not None:
                    self._contents[scope] = {workload: made}
                    yield ScopeChange(scope, put=tuple(made.values()), replace=True)
            case Captured(services=some):
                captured = self._contents[scope] = {}
                self._names[scope] = Names()
                every = frozenset(self.state.services if some is None else some)
                put, _ = self._capture(scope, captured, every)
                yield ScopeChange(scope, put=put, replace=True)
            case Peers():
                self._contents[scope] = {}
                yield from self._peers(scope)
            case Edge(view, of_edge):
                made = self._checked(
                    scope,
                    f"gateway {view.key} of workload {workload}",
                    lambda: self._renderer.gateway(view, of_edge),
                    gateways.clusters(view),
                    refused_to=client,
                )
                if made is not None:
                    self._contents[scope] = {workload: made}
                    yield ScopeChange(scope, put=tuple(made.values()), replace=True)
            case EdgeSecrets() | Authorities():
                self._contents[scope] = {}  # keys stay where they are kept
                yield ScopeChange(scope, put=self._kept(scope), replace=True)
            case Secrets() | Undiscovered():
                return

    def _kept(self, scope: EdgeSecrets | Authorities) -> tuple[Resource, ...]:
        """The secrets that `scope` may hold: for callers that verify backends, authorities only."""
        if isinstance(scope, Authorities):
            return self._certificates.authorities(scope.secrets)
        return self._certificates.resources(scope.secrets)

    def _peers(self, scope: Peers) -> Iterator[ScopeChange]:
        """What a proxy's bootstrap names its own cluster: the endpoints of the first port of its service."""
        service = scope.service

        def render() -> Iterable[Rendered]:
            view: EndpointsView | None = None
            if service is not None and service in self.state.services:
                view = next(endpoints_views(self.state, service), None)
            return [self._renderer.peers(view)]

        made = self._checked(scope, f"peers of {service}", render)
        if made is not None:
            yield ScopeChange(scope, put=tuple(made.values()), replace=True)

    def _refresh(
        self,
        scope: Outbound | Proxyless,
        contents: dict[Key, dict[Name, Resource]],
        touched: Iterable[Key],
        changes: Changes,
    ) -> ScopeChange | None:
        """Bring the entries of the services in `touched` up to date; None where nothing of this scope changed."""
        put: list[Resource] = []
        removed: list[Name] = []
        for key in touched:
            before = contents.get(key, {})
            if key not in self.state.services:
                after: dict[Name, Resource] | None = {}
                self._problems.gone(scope, f"service {key}")
                self._problems.gone(scope, f"endpoints of service {key}")
                if isinstance(scope, Outbound):
                    self._weaver.forget_service(scope.view, key)
            elif key in changes.services or key not in contents:
                after = self._service(scope, key)
            else:
                endpoints = self._endpoints(scope, key)
                after = None if endpoints is None else before | endpoints
            if after is None:
                continue
            put.extend(each for name, each in after.items() if before.get(name) != each)
            removed.extend(name for name in before if name not in after)
            if after:
                contents[key] = after
            else:
                contents.pop(key, None)
        # What one service has lost another may have now: a host name outside leads to one of those that claim it.
        moved = {(each.type_url, each.name) for each in put}
        gone = tuple(name for name in removed if name not in moved)
        return ScopeChange(scope, put=tuple(put), removed=gone) if put or gone else None

    def _service(self, scope: Outbound | Proxyless, key: Key) -> dict[Name, Resource] | None:
        def render() -> Iterable[Rendered]:
            view = service_view(self.state, key, scope.view.namespace)
            if isinstance(scope, Proxyless):
                return self._renderer.proxyless_service(view, scope.view.namespace)
            names = scope_view(self.state, key, scope.view.namespace)
            return (
                *self._renderer.service(view, self._weaver.service(self.state, scope.view, view)),
                *(self._renderer.scopes(names) if names is not None else ()),
            )

        made = self._checked(scope, f"service {key}", render)
        endpoints = self._endpoints(scope, key) if made is not None else None
        return None if made is None or endpoints is None else made | endpoints

    def _capture(
        self, scope: Captured, contents: dict[Key, dict[Name, Resource]], touched: Iterable[Key]
    ) -> tuple[tuple[Resource, ...], tuple[Name, ...]]:
        """Bring the virtual addresses and names of the services in `touched` up to date: what to put, what to remove."""
        put: list[Resource] = []
        removed: list[Name] = []
        names = self._names[scope]
        for key in touched:
            before, subject = contents.get(key, {}), f"virtual address of service {key}"
            try:
                view = virtual_view(self.state, key, scope.namespace) if key in self.state.services else None
                called = self._renderer.names(view).body if view is not None else b""
            except Exception as error:  # noqa: BLE001 (one service that cannot be rendered must not end the mesh's control plane)
                why = f"it cannot be rendered: {type(error).__name__}: {error}"
                self._problems.refuse(scope, subject, why)
                continue
            after: dict[Name, Resource] | None = {}
            if view is not None:
                render = functools.partial(self._renderer.virtual, view, scope.seams)
                after = self._checked(scope, subject, render, leads_to(view))
            else:
                self._problems.gone(scope, subject)
            if after is None:
                continue
            put.extend(each for name, each in after.items() if before.get(name) != each)
            removed.extend(name for name in before if name not in after)
            if after:
                contents[key] = after
            else:
                contents.pop(key, None)
            names.put(key, called)
        if names.take_change():
            table = self._renderer.dns_listener(scope.dns_port, names.entries(), ipv6=scope.ipv6)
            put.append(self._resource(table, ()))
        return tuple(put), tuple(removed)

    def _endpoints(self, scope: Outbound | Proxyless, key: Key) -> dict[Name, Resource] | None:
        """The fast lane: no constraint of an endpoint is checked here, for `documents` and `discovery` did."""

        def render() -> Iterable[Rendered]:
            if isinstance(scope, Proxyless):
                return [self._renderer.proxyless_endpoints(view) for view in endpoints_views(self.state, key)]
            spread = self._weaver.spread(self.state, scope.view, key)
            views = endpoints_views(self.state, key, spread, scope.view.locality)
            return [self._renderer.endpoints(view) for view in views]

        return self._checked(scope, f"endpoints of service {key}", render)

    def _checked(
        self,
        scope: Scope,
        subject: str,
        render: Callable[[], Iterable[Rendered]],
        leads_to: tuple[str, ...] = (),
        refused_to: str | None = None,
    ) -> dict[Name, Resource] | None:
        """What `render` makes for `scope`, as resources; None, with the reason in `problems`, if Envoy would refuse one of them.

        `leads_to`: clusters rendered elsewhere that it leads to. `refused_to`: the client that then stays where it is; None: all that have
        `scope` keep what they have.
        """
        holder = refused_to or scope
        try:
            rendered = tuple(render())
        except Exception as error:  # noqa: BLE001 (one service that cannot be rendered must not end the mesh's control plane)
            self._problems.refuse(holder, subject, f"it cannot be rendered: {type(error).__name__}: {error}")
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
        made: dict[Name, Resource] = {}
        # Make before break: who is sent to a cluster is told of it when the cluster and its endpoints were acknowledged.
        clusters = tuple(
            (kind, name)
            for name in (*leads_to, *(each.name for each in rendered if each.type_url == CLUSTER))
            for kind in (CLUSTER, ENDPOINT)
        )
        for each in rendered:
            needs = clusters if each.type_url in {ROUTE, SCOPED_ROUTE, LISTENER} else ()
            made[each.type_url, each.name] = self._resource(each, each.origin, needs)
        return made

    def _resource(
        self, rendered: Rendered, origin: tuple[str, ...], needs: tuple[Name, ...] = ()
    ) -> Resource:
        """Encoded once; the provenance of an equal rendering may have moved meanwhile."""
        found = self._encoded.get(rendered)
        if found is None:
            found = encode(rendered.type_url, rendered.name, rendered.body, origin, needs)
            self._encoded[rendered] = found
        return found if found.origin == origin else replace(found, origin=origin)


def _workload(key: Key) -> str:
    """The subject of what is wrong with all that a workload is given."""
    return f"workload {key}"


def client_id(workload: Key, *, proved: bool = True, proxyless: bool = False) -> str:
    """The id of the streams of a workload that came by one door, in one manner.

    What one of them is given must never depend on another: whoever says a name in plaintext is not who proved it.
    """
    how = [word for word, true in (("plaintext", not proved), ("proxyless", proxyless)) if true]
    return f"{workload} ({', '.join(how)})" if how else str(workload)


def client_ids(workload: Key) -> tuple[str, ...]:
    """All that there can be."""
    return tuple(
        client_id(workload, proved=proved, proxyless=proxyless)
        for proved in (True, False)
        for proxyless in (False, True)
    )
