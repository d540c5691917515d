"""What this version would send to the clients of a running control plane, against what that one sends them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.gateway_secrets import Loaded
from mesh.names import Key
from mesh.secrets import Bundle
from meshwright.plan.grouping import ResourceChange, together
from meshwright.plan.held import Difference
from meshwright.plan.snapshot import Snapshot, fleet_of, ids, state_of
from meshwright.plan.subscribed import named_routes
from meshwright.plan.twin import Setting, given
from meshwright.scopes import Scope
from xds.resource import Name, Resource
from xds.types import ROUTE, RUNTIME, SECRET


@dataclass(frozen=True, slots=True)
class Upgrade:
    """`refused`: documents that this version refuses, a line each. `problems`: what it would not send, and why. `proxies` of `of_proxies`
    would be sent something. `editions`: clients that see other values of some documents, and were left out.
    """

    version: str
    resources: tuple[ResourceChange, ...]
    refused: tuple[str, ...]
    problems: tuple[tuple[str, str], ...]
    proxies: int
    of_proxies: int
    editions: int = 0


class _Certificates:
    """Which Secret documents were read; their content is no part of a snapshot."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def resources(self, certificates: Iterable[Key], bundles: Iterable[Bundle]) -> tuple[Resource, ...]:
        del certificates, bundles
        return ()


def upgrade(snapshot: Snapshot) -> Upgrade:
    """Renders all that the clients see, by the code of this version."""
    state, refused = state_of(snapshot)
    setting = Setting(_Certificates(snapshot.loaded()), snapshot.on_demand)
    found = given(state, (), fleet_of(snapshot), setting)
    by_scopes: dict[tuple[tuple[int, ...], tuple[Scope, ...]], list[str]] = {}
    clients = ids(snapshot)
    for client, each in clients.items():
        if not each.edition:
            by_scopes.setdefault((each.scopes, found.after[client]), []).append(client)
    read = {place: snapshot.resources(place) for place in range(len(snapshot.scopes))}
    differing = []
    for (old, new), of in by_scopes.items():
        before = _together(read[place] for place in old)
        after = _together(found.held.now(scope) for scope in new)
        differences = tuple(_differences(before, after, sotw=clients[of[0]].proxyless))
        if differences:
            differing.append((tuple(of), differences))
    return Upgrade(
        snapshot.version,
        together(differing),
        refused,
        tuple(sorted(found.known.items())),
        sum(len(of) for of, _ in differing),
        len(clients),
        sum(each.edition for each in clients.values()),
    )


def _together(scopes: Iterable[Mapping[Name, Resource]]) -> dict[Name, Resource]:
    """Of what several hold, the first has it. Without secrets, and without what says whether a proxy was watched when it was captured."""
    found: dict[Name, Resource] = {}
    for each in scopes:
        found = {**each, **found}
    return {name: each for name, each in found.items() if each.type_url not in {RUNTIME, SECRET}}


def _differences(
    before: Mapping[Name, Resource], after: Mapping[Name, Resource], *, sotw: bool
) -> Iterator[Difference]:
    """Route configurations that neither names are sent to nobody."""
    routes = named_routes(before.values()) | named_routes(after.values())
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if (old and old.version) == (new and new.version):
            continue
        if sotw or name[0] != ROUTE or name[1] in routes:
            yield old, new
