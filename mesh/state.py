"""The state of the mesh: what all sources together say, as one frozen value.

`MeshState.apply(event) -> (state, changes)` is the only way to a new state. Its work grows with what the event
changes: the maps are persistent, so the new state shares what did not change with the old one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from immutables import Map

from mesh import backend_tls, external
from mesh.addresses import Claims, claimed, collisions
from mesh.declared import callees, moved
from mesh.edges import Edges
from mesh.events import (
    Changes,
    Declared,
    DocumentName,
    Event,
    SourceGone,
    SourceSnapshot,
    SourceUpdate,
    Value,
)
from mesh.identity import Identity, TrustDomains
from mesh.names import Key
from mesh.policy import PolicyIndex
from mesh.routes import Subset
from mesh.routing import Routing
from mesh.service import Service, ServicePort
from mesh.transport import Passage
from mesh.workload import Endpoint, Health, Workload, endpoint

V = TypeVar("V", Service, Workload)
Name = TypeVar("Name", Key, DocumentName)
Held = TypeVar("Held")
Accounts = Map[Key, Map[str, int]]
NO_ACCOUNTS: Map[str, int] = Map()


@dataclass(frozen=True, slots=True)
class Merging:
    """Where services of one key in two sources are one service: named services, and all of named namespaces."""

    services: frozenset[Key] = frozenset()
    namespaces: frozenset[str] = frozenset()

    def covers(self, service: Key) -> bool:
        return service in self.services or service.namespace in self.namespaces


@dataclass(frozen=True, slots=True)
class SourceView:
    """What one source said last. `members`: for each service, the workloads that say they serve it, sorted."""

    services: Map[Key, Service] = Map()
    workloads: Map[Key, Workload] = Map()
    members: Map[Key, tuple[Key, ...]] = Map()
    declared: Map[DocumentName, Declared] = Map()


@dataclass(frozen=True, slots=True)
class MeshState:
    """All services and workloads. Iterate in any order; look up by key.

    `order` ranks the sources, first wins; a source that it does not name ranks behind, by name. `members` holds, for
    each service, the keys of the workloads that serve it, sorted; `accounts`, of how many of them each service account is; `addresses`, for each virtual address, the services that claim it. `declared` is all else that documents say, of which `routing`,
    `edges` and `policies` are indices. `passing`: see `mesh.transport`; what is not there any more may be among it. `federated`: the
    foreign trust domains whose callers sidecars let in, sorted. `aliases`, `former`: see `TrustDomains`. `leaving`: workloads whose proxies
    are about to end, or have; what is not there any more may be among it.
    """

    trust_domain: str
    order: tuple[str, ...] = ()
    merging: Merging = Merging()
    sources: Map[str, SourceView] = Map()
    services: Map[Key, Service] = Map()
    workloads: Map[Key, Workload] = Map()
    members: Map[Key, tuple[Key, ...]] = Map()
    accounts: Accounts = Map()
    addresses: Claims = Map()
    declared: Map[DocumentName, Value] = Map()
    routing: Routing = Routing()
    policies: PolicyIndex = PolicyIndex()
    hosts: external.Hosts = Map()
    backend_tls: backend_tls.Policies = Map()
    edges: Edges = Edges()
    passing: frozenset[Passage] = frozenset()
    federated: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    leaving: frozenset[Key] = frozenset()

    @property
    def trust_domains(self) -> TrustDomains:
        return TrustDomains(self.trust_domain, self.aliases, self.former)

    def without(self, leaving: frozenset[Key]) -> tuple[MeshState, Changes]:
        """The state in which callers use none of these workloads, whatever their sources say, and no others are kept from them."""
        moved = {each for each in self.leaving ^ leaving if each in self.workloads}
        return _settle(replace(self, leaving=leaving), services=set(), workloads=moved, several=False)

    def federated_with(self, trust_domains: Iterable[str]) -> tuple[MeshState, Changes]:
        """The state in which sidecars let in callers of these foreign trust domains, and of no others."""
        federated = tuple(sorted(trust_domains))
        if federated == self.federated:
            return self, Changes()
        return replace(self, federated=federated), Changes(workloads=frozenset(self.workloads))

    def passing_through(self, passing: frozenset[Passage]) -> tuple[MeshState, Changes]:
        """The state in which these places, and no others, are on their way from one mode of TLS to another."""
        moved = [each for each in self.passing ^ passing if each.service in self.services]
        changes = Changes(
            endpoints=frozenset(each.service for each in moved),
            workloads=frozenset(each.workload for each in moved if each.workload in self.workloads),
        )
        return replace(self, passing=passing), changes

    def apply(self, event: Event) -> tuple[MeshState, Changes]:
        """The state after `event`, and what it changed. The same event again changes nothing."""
        before = self.sources.get(event.source, SourceView())
        services: Iterable[Key]
        workloads: Iterable[Key]
        if isinstance(event, SourceUpdate):
            after = SourceView(
                _updated(before.services, _by_key(event.services), event.removed_services),
                _updated(before.workloads, _by_key(event.workloads), event.removed_workloads),
                declared=_updated(before.declared, _by_name(event.declared), event.removed_declared),
            )
            documents = {*(each.name for each in event.declared), *event.removed_declared}
            services = (*(each.key for each in event.services), *event.removed_services)
            workloads = (*(each.key for each in event.workloads), *event.removed_workloads)
        else:
            whole = event if isinstance(event, SourceSnapshot) else SourceSnapshot(event.source)
            after = SourceView(
                _whole(before.services, whole.services),
                _whole(before.workloads, whole.workloads),
                declared=Map(_by_name(whole.declared)),
            )
            documents = {*before.declared, *after.declared}
            services = (*before.services, *after.services)
            workloads = (*before.workloads, *after.workloads)
        changed = {key for key in workloads if _differs(before.workloads, after.workloads, key)}
        after = replace(after, members=_grouped(before.members, before.workloads, after.workloads, changed))
        sources = self.sources.set(event.source, after)
        if isinstance(event, SourceGone):
            sources = sources.delete(event.source)
        state, changes = _settle(
            replace(self, sources=sources),
            services={key for key in services if _differs(before.services, after.services, key)},
            workloads=changed,
            # Also when one of two has just gone: what it declared may be another's now.
            several=len(self.sources) > 1 or len(sources) > 1,
        )
        if changes.services:
            hosts, others, wildcards = external.moved(self, state, changes.services)
            state = replace(state, hosts=hosts)
            changes |= Changes(services=others, callers=wildcards)
        for name in sorted(documents):
            if before.declared.get(name) is not after.declared.get(name):
                state, more = moved(state, name, state.effective_declared(name))
                changes |= more
        changes |= Changes(workloads=callees(self, state, changes))
        return state, changes | _referring(self, state, changes)

    def subsets_of(self, service: Key) -> tuple[Subset, ...]:
        """By namespace and name."""
        return self.routing.subsets.get(service, ())

    def effective_declared(self, name: DocumentName) -> Value | None:
        """As the first source has it that does."""
        for source in self.ranked():
            found = self.sources[source].declared.get(name)
            if found is not None:
                return found.value
        return None

    def endpoints(self, service: Key, port: ServicePort) -> tuple[Endpoint, ...]:
        """The endpoints of one port, by workload key. Critical ones are left out: they get no traffic at all."""
        found = (endpoint(self.workloads[member], service, port) for member in self.members.get(service, ()))
        return tuple(each for each in found if each is not None and each.health is not Health.CRITICAL)

    def identities(self, service: Key) -> tuple[Identity, ...]:
        """Whom a caller accepts as `service`, by each of the names that it may have; never empty."""
        return self._identities(service, self.trust_domains.all)

    def caller_identities(self, service: Key) -> tuple[Identity, ...]:
        """By whom `service` may be known where it calls."""
        return self._identities(service, self.trust_domains.callers)

    def _identities(self, service: Key, trust_domains: Iterable[str]) -> tuple[Identity, ...]:
        accounts = frozenset(self.accounts.get(service, NO_ACCOUNTS))
        return tuple(
            identity
            for trust_domain in trust_domains
            for identity in self.services[service].identities(trust_domain, accounts)
        )

    def conflicts(self) -> Iterator[str]:
        """A line for each service or workload that a source declares and another, ranked before it, has already, and for each
        virtual address that two services claim.
        """
        yield from collisions(self)
        yield from external.left_out(self)
        yield from external.without_routes(self)
        for source, view in self.sources.items():
            for key in view.services:
                owner = self.owner(key)
                if owner != source and not self.merging.covers(key):
                    yield (
                        f"service {key} of source {source} is left out: source {owner} declares it too. "
                        "Rename one, or switch merging on for the service or its namespace"
                    )
            for key in view.workloads:
                owner = self.workload_owner(key)
                if owner != source:
                    yield f"workload {key} of source {source} is left out: source {owner} declares it too. Rename one"
                    continue
                for service in view.workloads[key].services:
                    if not self._serves(source, service):
                        yield (
                            f"workload {key} of source {source} does not serve {service}, which is that of source "
                            f"{self.owner(service)}. Switch merging on for the service or its namespace"
                        )

    def ranked(self) -> list[str]:
        """The sources, first wins."""
        rank = {source: place for place, source in enumerate(self.order)}
        return sorted(self.sources, key=lambda source: (rank.get(source, len(rank)), source))

    def owner(self, service: Key) -> str | None:
        return next((source for source in self.ranked() if service in self.sources[source].services), None)

    def workload_owner(self, workload: Key) -> str | None:
        return next((source for source in self.ranked() if workload in self.sources[source].workloads), None)

    def effective_service(self, key: Key) -> Service | None:
        """As the first source has it that does; what a cluster has reserved to it stays its own, whoever declares it."""
        owner = self.owner(key)
        if owner is None:
            return None
        found = self.sources[owner].services[key]
        if len(self.sources) == 1 or found.reserved:
            return found
        said = (view.services.get(key) for view in self.sources.values())
        reserved = next((each.reserved for each in said if each is not None and each.reserved), ())
        return replace(found, reserved=reserved) if reserved else found

    def effective_workload(self, key: Key) -> Workload | None:
        """The workload as its first source has it, less the services that belong to another source; critical while it is leaving."""
        source = self.workload_owner(key)
        if source is None:
            return None
        workload = self.sources[source].workloads[key]
        if key in self.leaving:
            workload = replace(workload, health=Health.CRITICAL)
        if len(self.sources) == 1:
            return workload
        served = tuple(service for service in workload.services if self._serves(source, service))
        return workload if served == workload.services else replace(workload, services=served)

    def _serves(self, source: str, service: Key) -> bool:
        """Whether workloads of `source` may serve `service`."""
        return self.owner(service) in {source, None} or self.merging.covers(service)


def _settle(
    state: MeshState, services: set[Key], workloads: set[Key], *, several: bool
) -> tuple[MeshState, Changes]:
    """Bring the effective services and workloads of `state` up to date for the keys that a source spoke of."""
    if not services and not workloads:
        return state, Changes()
    touched = workloads | (_declared_members(state, services) if several and services else set())
    new_services, changed_services = state.services, set[Key]()
    for key in services:
        new_services = _moved(new_services, key, state.effective_service(key), changed_services)
    new_workloads, changed_workloads = state.workloads, set[Key]()
    for key in touched:
        new_workloads = _moved(new_workloads, key, state.effective_workload(key), changed_workloads)
    addresses, neighbours = claimed(state.addresses, state.services, new_services, changed_services)
    changed_services |= neighbours
    changed_endpoints = set(changed_services)
    edges = state.edges
    for key in changed_workloads:
        edges = edges.played(key, state.workloads.get(key), new_workloads.get(key))
        changed_endpoints |= _served(state.workloads.get(key)) | _served(new_workloads.get(key))
    new = replace(
        state,
        services=new_services,
        workloads=new_workloads,
        members=_grouped(state.members, state.workloads, new_workloads, changed_workloads),
        accounts=_counted(state.accounts, state.workloads, new_workloads, changed_workloads),
        edges=edges,
        addresses=addresses,
    )
    for service in changed_endpoints:
        # To its callers, a service that may be served by other identities is another service.
        both = service in new_services and service in state.services
        if both and new.identities(service) != state.identities(service):
            changed_services.add(service)
    return new, Changes(
        services=frozenset(changed_services),
        endpoints=frozenset(key for key in changed_endpoints if key in new_services),
        workloads=frozenset(
            key
            for key in changed_workloads
            if _own_view(state.workloads.get(key)) != _own_view(new_workloads.get(key))
        ),
        urgent=any(
            _lost_traffic(state.workloads.get(key), new_workloads.get(key)) for key in changed_workloads
        )
        or any(key not in new_services for key in changed_services),
    )


def _referring(old: MeshState, new: MeshState, changes: Changes) -> Changes:
    """The services whose routes send to one, or to a subset of one, that has come, gone, or has other ports or hosts outside now."""
    found: set[Key] = set()
    for key in changes.services:
        was, now = old.services.get(key), new.services.get(key)
        # Of a backend a rule says the port, and by which host one outside is called.
        if (was and (was.ports, was.external)) != (now and (now.ports, now.external)):
            for named in (key, *(each.key for each in new.subsets_of(key))):
                referring = new.routing.referring.get(named, ())
                found.update(each for each in referring if each in new.services)
    return Changes(services=frozenset(found - changes.services))


def _declared_members(state: MeshState, services: set[Key]) -> set[Key]:
    """The workloads that come or go with the owner of `services`."""
    return {
        member
        for view in state.sources.values()
        for service in services
        for member in view.members.get(service, ())
    }


def _grouped(
    members: Map[Key, tuple[Key, ...]],
    old: Map[Key, Workload],
    new: Map[Key, Workload],
    changed: Iterable[Key],
) -> Map[Key, tuple[Key, ...]]:
    """`members`, by service, of the workloads of `old`, as they are of those of `new`, which differ by `changed`."""
    groups: dict[Key, set[Key]] = {}
    for key in changed:
        for service in _served(old.get(key)) ^ _served(new.get(key)):
            groups.setdefault(service, set(members.get(service, ()))).symmetric_difference_update({key})
    draft = members.mutate()
    for service, group in groups.items():
        if group:
            draft[service] = tuple(sorted(group))
        else:
            del draft[service]
    return draft.finish()


def _counted(
    accounts: Accounts, old: Map[Key, Workload], new: Map[Key, Workload], changed: Iterable[Key]
) -> Accounts:
    """`accounts` of the workloads of `old`, as they are of those of `new`, which differ by `changed`."""
    by: Counter[tuple[Key, str]] = Counter()
    for key in changed:
        for each, one in ((old.get(key), -1), (new.get(key), 1)):
            if each is not None:
                for service in _served(each):
                    by[service, each.service_account] += one
    for (service, account), more in by.items():
        if more:
            of = accounts.get(service, NO_ACCOUNTS)
            left = of.get(account, 0) + more
            of = of.set(account, left) if left else of.delete(account)
            accounts = accounts.set(service, of) if of else accounts.delete(service)
    return accounts


def _served(workload: Workload | None) -> set[Key]:
    return set(workload.services) if workload else set()


def _whole(before: Map[Key, V], values: Iterable[V]) -> Map[Key, V]:
    """A map of `values` alone, which keeps the objects of `before` that are equal."""
    made: dict[Key, V] = {}
    for each in values:
        old = before.get(each.key)
        made[each.key] = old if old is not None and old == each and old.origin == each.origin else each
    return Map(made)


def _updated(before: Map[Name, Held], put: Mapping[Name, Held], removed: Iterable[Name]) -> Map[Name, Held]:
    draft = before.mutate()
    draft.update(put)
    for name in removed:
        draft.pop(name, None)
    return draft.finish()


def _by_key(values: Iterable[V]) -> dict[Key, V]:
    return {each.key: each for each in values}


def _by_name(documents: Iterable[Declared]) -> dict[DocumentName, Declared]:
    return {each.name: each for each in documents}


def _differs(before: Map[Key, V], after: Map[Key, V], key: Key) -> bool:
    """In value or in origin."""
    old, new = before.get(key), after.get(key)
    return old != new or (old is not None and new is not None and old.origin != new.origin)


def _moved(current: Map[Key, V], key: Key, value: V | None, changed: set[Key]) -> Map[Key, V]:
    """`current` with `key` at `value` (absent when None); `changed` gains the key if that is a change.

    A value that has another origin only is put in place, and is no change.
    """
    old = current.get(key)
    if old != value:
        changed.add(key)
    elif old is None or value is None or old.origin == value.origin:
        return current
    return current.delete(key) if value is None else current.set(key, value)


def _lost_traffic(old: Workload | None, new: Workload | None) -> bool:
    """Whether callers must stop using what `old` offered: removed, critical, moved, or no longer of a service."""
    if old is None or old.health is Health.CRITICAL or not old.services:
        return False
    if new is None or new.health is Health.CRITICAL:
        return True
    return (old.address, old.ports, old.meshed) != (new.address, new.ports, new.meshed) or not set(
        old.services
    ) <= set(new.services)


def _own_view(workload: Workload | None) -> object:
    """What of a workload decides its own sidecar's configuration, as opposed to that of its callers."""
    return workload and (
        workload.services,
        workload.service_account,
        workload.address,
        workload.ports,
        workload.meshed,
        workload.uses,
        workload.outbound_port,
        workload.locality,
        workload.interception,
        workload.gateway,
        workload.fronted,
        workload.on_demand,
    )
