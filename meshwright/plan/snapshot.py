"""What a running control plane hands to another version of itself: what it knows of the mesh, and what it sends to whom.

One JSON text; no key and no secret is in it. Read by whatever version comes next, so fields are added, and never change their meaning.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import TypeAdapter, ValidationError

from documents.parsing import parse
from mesh.events import Declared, SourceSnapshot
from mesh.gateway_secrets import Loaded
from mesh.names import Key
from mesh.service import Service
from mesh.state import Merging, MeshState, SourceView
from mesh.transport import Passage
from mesh.workload import Workload
from meshwright.plan.fleet import Fleet, Member
from meshwright.plan.twin import id_of
from meshwright.scopes import Scope
from policies.registry import KINDS
from xds.cache import Resources
from xds.resource import Name, Resource, encode
from xds.types import SECRET

FORMAT: Final = 1


class UnreadableSnapshot(Exception):
    """It is not one, or of a later version than this. `str()` says why, and the way out."""


@dataclass(frozen=True, slots=True)
class Text:
    """A document as it was written: it is read again by the rules of the version that reads the snapshot."""

    origin: str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    services: tuple[Service, ...]
    workloads: tuple[Workload, ...]
    documents: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Client:
    """`scopes`: places in `Snapshot.scopes`. `edition`: it sees other values of some documents, which the snapshot does not have."""

    workload: Key
    proved: bool
    proxyless: bool
    scopes: tuple[int, ...]
    edition: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`scopes`: of each, type, name and version of what it holds. `bodies`: by type and version, the serialised message in base 64."""

    format: int
    version: str
    trust_domain: str
    order: tuple[str, ...]
    merged_services: tuple[Key, ...]
    merged_namespaces: tuple[str, ...]
    federated: tuple[str, ...]
    aliases: tuple[str, ...]
    passing: tuple[Passage, ...]
    on_demand: bool
    certificates: tuple[Key, ...]
    authorities: tuple[Key, ...]
    sources: tuple[Source, ...]
    clients: tuple[Client, ...]
    scopes: tuple[tuple[tuple[str, str, str], ...], ...]
    bodies: dict[str, dict[str, str]] = field(default_factory=dict)

    def loaded(self) -> Loaded:
        return Loaded(frozenset(self.certificates), frozenset(self.authorities))

    def resources(self, scope: int) -> Mapping[Name, Resource]:
        return {
            (type_url, name): encode(type_url, name, base64.b64decode(self.bodies[type_url][version]))
            for type_url, name, version in self.scopes[scope]
        }


_JSON = TypeAdapter(Snapshot)


@dataclass(frozen=True, slots=True)
class Captured:
    """What is taken on the event loop, all of it values that never change: `held` are the resources of each scope."""

    version: str
    state: MeshState
    fleet: Fleet
    held: Mapping[Scope, tuple[Resources, ...]]
    on_demand: bool
    loaded: Loaded


def written(captured: Captured) -> bytes:
    """The snapshot as JSON. Work for a thread."""
    state, places = captured.state, {scope: place for place, scope in enumerate(captured.held)}
    bodies: dict[str, dict[str, str]] = {}
    scopes = tuple(tuple(_entries(held, bodies)) for held in captured.held.values())
    snapshot = Snapshot(
        FORMAT,
        captured.version,
        state.trust_domain,
        state.order,
        tuple(sorted(state.merging.services)),
        tuple(sorted(state.merging.namespaces)),
        state.federated,
        state.aliases,
        tuple(sorted(state.passing, key=lambda each: (each.workload, each.service, each.port))),
        captured.on_demand,
        tuple(sorted(captured.loaded.certificates)),
        tuple(sorted(captured.loaded.authorities)),
        tuple(_source(name, state.sources[name]) for name in sorted(state.sources)),
        tuple(_client(each, places) for each in captured.fleet),
        scopes,
        bodies,
    )
    return _JSON.dump_json(snapshot)


def read(data: bytes) -> Snapshot:
    """UnreadableSnapshot."""
    try:
        found = _JSON.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnreadableSnapshot(
            f"this is no snapshot that this version reads ({where}: {first['msg']}): make it with `meshwright upgrade-check --save` "
            "against a control plane of this version or of one before it"
        ) from error
    if found.format > FORMAT:
        raise UnreadableSnapshot(
            f"the snapshot is of format {found.format}, and this version reads {FORMAT}: it was made by a later version, {found.version}"
        )
    return found


def state_of(snapshot: Snapshot) -> tuple[MeshState, tuple[str, ...]]:
    """The mesh as this version understands it, and what of the documents it refuses, a line each."""
    merging = Merging(frozenset(snapshot.merged_services), frozenset(snapshot.merged_namespaces))
    state = MeshState(
        snapshot.trust_domain,
        order=snapshot.order,
        merging=merging,
        federated=snapshot.federated,
        aliases=snapshot.aliases,
    )
    refused: list[str] = []
    for source in snapshot.sources:
        declared: list[Declared] = []
        for each in source.documents:
            parsed = parse(each.origin, each.text.encode(), KINDS)
            declared.extend(parsed.declared())
            refused.extend(map(str, parsed.errors))
        state, _ = state.apply(
            SourceSnapshot(source.name, source.services, source.workloads, tuple(declared))
        )
    state, _ = state.passing_through(frozenset(snapshot.passing))
    return state, tuple(refused)


def fleet_of(snapshot: Snapshot) -> Fleet:
    """The clients as they come anew, after the control plane was started as another version."""
    return tuple(Member(each.workload, each.proved, each.proxyless) for each in snapshot.clients)


def ids(snapshot: Snapshot) -> dict[str, Client]:
    return {id_of(Member(each.workload, each.proved, each.proxyless)): each for each in snapshot.clients}


def _entries(held: Iterable[Resources], bodies: dict[str, dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    for resources in held:
        for each in resources.values():
            if each.type_url == SECRET:
                continue
            known = bodies.setdefault(each.type_url, {})
            if each.version not in known:
                known[each.version] = base64.b64encode(each.body).decode()
            yield each.type_url, each.name, each.version


def _source(name: str, view: SourceView) -> Source:
    return Source(
        name,
        tuple(each for _, each in sorted(view.services.items())),
        tuple(each for _, each in sorted(view.workloads.items())),
        tuple(
            Text((each.value.origin or ("",))[0].partition("#")[0], each.text)
            for _, each in sorted(view.declared.items(), key=lambda item: item[0])
        ),
    )


def _client(member: Member, places: Mapping[Scope, int]) -> Client:
    return Client(
        member.workload,
        member.proved,
        member.proxyless,
        tuple(places[scope] for scope in member.scopes if scope in places),
        bool(member.overlay),
    )
