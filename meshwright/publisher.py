"""From the state of the mesh to the scopes that streams are given; what each contains is `meshwright/contents.py`.

Only scopes that a stream has are kept up to date, and of each only what changed: the work of a change is the
rendering of what it touches, once, and one entry in each scope that holds it. No I/O, no clock: the pipeline
calls it, and passes the time where it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from envoy import on_demand
from envoy.render import Renderer
from mesh import backend_tls, facets
from mesh.events import Changes
from mesh.gateway_secrets import NOTHING_LOADED, Readable, readable
from mesh.gateway_views import declared, gateway_scope, gateway_view
from mesh.names import Key
from mesh.state import MeshState
from mesh.views import OutboundScope, inbound_view, outbound_listeners_view, outbound_scope
from mesh.workload import Workload
from meshwright.certificates import CertificateStore, NoCertificates
from meshwright.contents import Contents
from meshwright.editions import Edition, Editions, Member
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
    Scopes,
    Secrets,
    Seen,
    Undiscovered,
    calling,
    clusters_of,
    seen,
)
from meshwright.sizes import Asides, ScopeSize
from meshwright.watchers import Watchers
from policies.calling import called_for_routes
from policies.weave import Weaver
from xds.cache import ScopeChange
from xds.resource import Name, Resource


@dataclass(slots=True)
class Attached:
    """A workload with open streams. `scopes` is what they are given now, of the edition of that name; `watched`, the services that decide
    it. `at_once`: with clusters on demand, those that come unasked all the same; None: all come. `envoy`: see `Member`.
    """

    workload: Key
    proved: bool
    proxyless: bool
    scopes: tuple[Scope, ...] = ()
    watched: frozenset[Key] = frozenset()
    streams: int = 1
    at_once: frozenset[str] | None = None
    envoy: str = ""
    edition: str = BASE

    @property
    def seen(self) -> tuple[Seen, ...]:
        return seen(self.scopes, self.at_once)


@dataclass(frozen=True, slots=True)
class Given:
    """What a workload is to be given: see `Attached`. No scopes: it cannot be told."""

    scopes: tuple[Scope, ...] = ()
    at_once: frozenset[str] | None = None


@dataclass(slots=True)
class Update:
    """What the xDS server has to do: publish `changes` at once, then move clients to other scopes."""

    changes: list[ScopeChange] = field(default_factory=list)
    rescoped: dict[str, tuple[Seen, ...]] = field(default_factory=dict)


class Publisher:
    """Knows who is attached, which scopes each is given, and whom a change concerns.

    `problems` says, for each service or workload whose rendering Envoy would refuse, why: its last good resources
    stay in force. Of a policy that cannot be rendered somewhere, it says why it is left out there.
    """

    def __init__(
        self,
        state: MeshState,
        renderer: Renderer,
        weaver: Weaver | None = None,
        certificates: CertificateStore | None = None,
        *,
        on_demand: bool = False,
    ) -> None:
        """`on_demand`: whether clusters come on demand where a workload says nothing."""
        self.scopes = Scopes()
        self.watchers = Watchers()
        self._certificates = certificates or NoCertificates()
        self._problems = Problems()
        self.editions = Editions(state, weaver or Weaver())
        self._on_demand = on_demand
        self._contents = Contents(renderer, self.editions, self._certificates, self._problems)
        self._attached: dict[str, Attached] = {}
        self._reporting = frozenset[Key]()

    @property
    def state(self) -> MeshState:
        """What all sources say, as it is published."""
        return self.editions.base.state

    @property
    def problems(self) -> dict[str, str]:
        """What is not sent, or left out, and why: by service, workload, or the place that a policy concerns."""
        return {**self._problems.refused, **self._of_policies(), **self._problems.left_out}

    def _of_policies(self) -> dict[str, str]:
        """Told as the base has it, where it does."""
        return {
            subject: why
            for edition in reversed(tuple(self.editions))
            for subject, why in edition.weaver.problems.items()
        }

    @property
    def policies_left_out(self) -> int:
        """At how many places a policy has no effect because of what is wrong with it there."""
        return len(self._of_policies()) + len(self._problems.left_out)

    def sizes(self, named: Callable[[str], Iterable[str]] = lambda _: ()) -> dict[str, ScopeSize]:
        """What each client sees of the mesh, by its id. `named`: the clusters that a client asked for by name."""
        sizes = self._contents.sizes(self.state)
        asides: dict[Scope, Asides] = {}
        found: dict[str, ScopeSize] = {}
        for client, attached in self._attached.items():
            for scope in attached.scopes:
                if scope not in sizes:
                    continue
                found[client] = sizes[scope]
                if attached.at_once is not None:
                    aside = asides.get(scope) or asides.setdefault(scope, self._contents.asides(scope))
                    found[client] = aside.less(sizes[scope], {*attached.at_once, *named(client)})
        return found

    # What the pipeline says

    def refresh(self, state: MeshState, changes: Changes) -> Update:
        """The first step: take `state`, and bring what the scopes in use hold of the changed services up to date.

        The editions take what they were told of besides; `changes` are those of all together.
        """
        moved = self.editions.published(state, changes)
        if moved:
            changes |= Changes(services=moved)
        return Update(list(self._contents.refresh(changes)))

    def concerned(self, changes: Changes) -> set[str]:
        """The clients that may have to be given other scopes."""
        clients = self.watchers.of(changes.services)
        clients.update(
            each for key in changes.workloads for each in client_ids(key) if each in self._attached
        )
        if changes.callers:
            clients.update(self._attached)
        return clients

    def rescope(self, state: MeshState, clients: Iterable[str]) -> Update:
        """The second step: give those of `clients` that are still here the scopes that `state`, or their edition of it, means for them."""
        self.editions.base.state = state
        update = Update()
        for client in clients:
            if client in self._attached:
                self._rescope(client, update)
        return update

    def renewed(self, secrets: frozenset[Key]) -> Update:
        """Secret documents whose files were read, or are no longer: given to the gateways that may use them."""
        update = Update(list(self._contents.renewed(secrets)))
        for key in sorted(self.state.edges.everyone()):
            for client in client_ids(key):
                if client in self._attached:
                    self._rescope(client, update)
        return update

    def attach(
        self, workload: Key, *, proved: bool, proxyless: bool, envoy: str = ""
    ) -> tuple[tuple[Seen, ...], Update]:
        """A stream of `workload` has come: the scopes to give it, and what to publish first. `envoy`: see `Member`."""
        client, update = client_id(workload, proved=proved, proxyless=proxyless), Update()
        attached = self._attached.get(client)
        if attached is None:
            attached = Attached(workload, proved, proxyless, envoy=envoy)
            self._attached[client] = attached
            self._rescope(client, update)
            update.rescoped.pop(client, None)
        else:
            attached.streams += 1
            if attached.envoy != envoy:
                attached.envoy = envoy  # it was restarted as another version: what it says last is what it is
                self._rescope(client, update)
        return attached.seen, update

    def detach(self, client: str, now: float) -> None:
        """A stream has gone. Its scopes stay for a while: a proxy that lost its connection comes back at once."""
        attached = self._attached.get(client)
        if attached is None:
            return
        attached.streams -= 1
        if attached.streams <= 0:
            del self._attached[client]
            self._watch(client, attached, None, ())
            self.scopes.release(attached.scopes, now)
            self._problems.forget(client)
            if not any(each in self._attached for each in client_ids(attached.workload)):
                self._forget_workload(attached.workload)

    def sweep(self, now: float, after: float = 60.0) -> list[Scope]:
        """Forget the scopes that nobody has used for `after` seconds; the caller drops them from the cache."""
        gone = self.scopes.forget_idle(now, after)
        for scope in gone:
            self._contents.drop(scope)
        if len(self.editions):
            clients = (each.edition for each in self._attached.values())
            self.editions.forget({*clients, *self._contents.editions()})
        return gone

    def report(self, workloads: frozenset[Key]) -> set[str]:
        """Let the proxies of `workloads`, and no others, say what they handle: whom that changes, whose scopes are to be looked at again."""
        moved, self._reporting = self._reporting ^ workloads, workloads
        return {client for key in moved for client in client_ids(key) if client in self._attached}

    def leaving(self, clients: Iterable[str]) -> list[str]:
        """Those of `clients` that belong to another edition than they are given, which is not the base."""
        return [
            client
            for client in clients
            if (of := self._attached.get(client)) is not None
            and self.editions.of(self.member(client)).name not in {BASE, of.edition}
        ]

    def clients(self) -> list[Member]:
        """All that are attached."""
        return [self.member(client) for client in self._attached]

    def member(self, client: str) -> Member:
        """KeyError if it is not attached."""
        of = self._attached[client]
        declared = self.state.workloads.get(of.workload)
        return Member(client, of.workload, of.proved, of.proxyless, of.envoy, declared)

    def scopes_of(self, client: str) -> tuple[Scope, ...]:
        """Those that `client` has now; none if it is not attached."""
        attached = self._attached.get(client)
        return () if attached is None else attached.scopes

    def scopes_in(self, edition: Edition, client: str) -> tuple[Scope, ...]:
        """Those that `client`, which is attached, would have in `edition`. Raises whatever keeps them from being told."""
        attached = self._attached[client]
        return self._given(edition, attached, edition.state.workloads.get(attached.workload)).scopes

    def contents_of(self, scope: Scope) -> Iterator[Resource]:
        """All that is sent of a scope but secrets."""
        return self._contents.all_of(scope)

    def given(self, client: str, name: Name) -> str | None:
        """The version of the resource `name` that `client` is to have; None: none that is one service's or workload's."""
        for scope in self.scopes_of(client):
            key = self._contents.service_of(scope, name)
            if key is not None:
                return self._contents.version_of(scope, key, name)
        return None

    def service_of(self, scope: Scope, name: Name) -> Key | None:
        """Which service's entry of `scope` holds the resource `name`."""
        return self._contents.service_of(scope, name)

    def edition(self, client: str) -> Edition:
        """What `client` is given its scopes of; the base for one that is not attached."""
        attached = self._attached.get(client)
        return self.editions.base if attached is None else self.editions[attached.edition]

    def attached(self) -> Iterable[Attached]:
        """Who has open streams, and what each is given now. Not to be changed, nor kept over a turn of the loop."""
        return self._attached.values()

    def scopes_in_use(self) -> int:
        return len(self._contents)

    # Which scopes a workload has

    def _rescope(self, client: str, update: Update) -> None:
        attached = self._attached[client]
        edition = self.editions.of(self.member(client))
        workload = edition.state.workloads.get(attached.workload)
        if workload is None:
            self._problems.forget(client)
            self._forget_workload(attached.workload)
            if attached.scopes and not isinstance(attached.scopes[0], Undiscovered):
                # It was deregistered with its proxy still running: what it has serves while it drains.
                return
        given = self._wanted(edition, client, attached, workload)
        wanted, at_once = given.scopes, given.at_once if given.scopes else attached.at_once
        scopes = wanted or attached.scopes or self.scopes.one((Undiscovered(attached.workload),))
        self._watch(client, attached, workload, scopes)
        if (scopes, at_once) == (attached.scopes, attached.at_once):
            attached.edition = edition.name if wanted else attached.edition
            if wanted and all(scope in self._contents for scope in scopes if isinstance(scope, Local | Edge)):
                self._problems.mended(client, of_workload(attached.workload))
            return
        fresh = [scope for scope in scopes if scope not in self._contents]
        listening = tuple(scope for scope in fresh if isinstance(scope, Local | Edge))
        # The listeners first: if Envoy would refuse them, the client stays where it is and nothing else is opened for it.
        opened = [change for scope in listening for change in self._open(client, scope)]
        if attached.scopes and any(scope not in self._contents for scope in listening):
            # `problems` says why.
            self.scopes.forget_unused(fresh)
            return
        for scope in fresh:
            if scope not in listening:
                opened.extend(self._open(client, scope))
        if wanted and all(scope in self._contents for scope in listening):
            self._problems.forget(client)
        update.changes.extend(opened)
        self.scopes.use(scopes)
        # Who moved on needs what it had no more: it goes with the next sweep.
        self.scopes.release(attached.scopes, now=0.0)
        if edition.name != attached.edition and attached.edition in self.editions:
            self.editions[attached.edition].weaver.forget_workload(attached.workload)
        attached.scopes, attached.at_once, attached.edition = scopes, at_once, edition.name
        update.rescoped[client] = attached.seen

    def _open(self, client: str, scope: Scope) -> Iterator[ScopeChange]:
        return self._contents.open(scope, self._attached[client].workload, client)

    def _forget_workload(self, workload: Key) -> None:
        for edition in self.editions:
            edition.weaver.forget_workload(workload)

    def _wanted(self, edition: Edition, client: str, attached: Attached, workload: Workload | None) -> Given:
        """What the state of the mesh gives; no scopes where that cannot be told, and `problems` says why."""
        try:
            given = self._given(edition, attached, workload)
            return replace(given, scopes=self.scopes.one(given.scopes))
        except Exception as error:  # noqa: BLE001 (one workload whose view cannot be made must not end the mesh's control plane)
            why = f"what it is given cannot be told: {type(error).__name__}: {error}"
            self._problems.refuse(client, of_workload(attached.workload), why)
            return Given()

    def _given(self, edition: Edition, attached: Attached, workload: Workload | None) -> Given:
        state, name = edition.state, edition.name
        if workload is None:
            return Given((Undiscovered(attached.workload),))
        if attached.proxyless:
            # gRPC clients are not told of policies.
            scope = outbound_scope(state, workload)
            return Given((Proxyless(OutboundScope(scope.namespace, scope.services), name),))
        # Nobody is woken by a change of a peer unless some policy goes by places.
        own = workload.services[0] if workload.services and state.policies.by_locality else None
        trusted = backend_tls.bundles(state)
        watching = attached.proved and attached.workload in self._reporting
        every = (Peers(own, name), Runtime(watching), *((Authorities(trusted),) if trusted else ()))
        if workload.gateway is not None:
            return Given((*self._edge(edition, attached, workload, workload.gateway), *every))
        sidecar = self._sidecar(edition, attached, workload)
        return replace(sidecar, scopes=(*sidecar.scopes, *every))

    def _sidecar(self, edition: Edition, attached: Attached, workload: Workload) -> Given:
        state, weaver = edition.state, edition.weaver
        inbound = inbound_view(state, workload)
        seams = weaver.listeners(state, workload, inbound)
        scope = outbound_scope(state, workload)
        called = seams.called() | called_for_routes(state, scope)
        reached = calling(scope, called)
        at_once = None
        if self._on_demand if workload.on_demand is None else workload.on_demand:
            seams = on_demand.discovering(seams)
            # Connections that drain are handled by what they found when they came, which asks for no cluster: so what a stream was given
            # whole stays until it comes anew.
            whole = attached.at_once is None and any(isinstance(each, Outbound) for each in attached.scopes)
            at_once = None if whole else frozenset(clusters_of(called))
        local = Local(outbound_listeners_view(state, workload), inbound, seams)
        outbound = facets.that_matter(state, reached, weaver.by_callers)
        scopes: tuple[Scope, ...] = (Outbound(outbound, edition.name), local)
        if workload.interception is not None:
            of = workload.interception
            calls = replace(seams, inbound=())
            captured = Captured(
                outbound.namespace, outbound.services, of.dns_port, of.ipv6, calls, edition.name
            )
            scopes += (captured,)
        return Given((*scopes, Secrets(workload.key)) if attached.proved else scopes, at_once)

    def _edge(
        self, edition: Edition, attached: Attached, workload: Workload, gateway: Key
    ) -> tuple[Scope, ...]:
        """The scopes of a workload that plays `gateway`. Who has proved nothing has no keys, and so no listener that needs one."""
        state, weaver = edition.state, edition.weaver
        loaded = self._certificates.loaded if attached.proved else NOTHING_LOADED
        view = gateway_view(state, gateway, workload, loaded)
        caller = facets.of_kinds(outbound_scope(state, workload), weaver.by_callers)
        outbound = gateway_scope(state, caller, view)
        seams = weaver.gateway(state, workload, view, outbound.facets)
        calls = Outbound(calling(outbound, seams.called()), edition.name)
        scopes: tuple[Scope, ...] = (calls, Edge(view, seams))
        if not attached.proved:
            return scopes
        found = declared(state, gateway)
        given = Readable() if found is None else readable(state, found)
        secrets = EdgeSecrets(gateway, given.certificates, given.bundles)
        return (*scopes, Secrets(workload.key), secrets)

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
        self.watchers.move(client, attached.watched, watched)
        attached.watched = watched


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
