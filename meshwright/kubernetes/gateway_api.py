"""The statuses of the Gateway API's objects as a source for the writer: what the mesh, the proxies and the cluster know, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from mesh.conditions import gateways
from mesh.gateways import Gateway
from mesh.names import Key
from mesh.state import MeshState
from meshwright.certificates import Certificates
from meshwright.kubernetes.gateway_statuses import (
    Facts,
    Made,
    WishedStatus,
    class_statuses,
    gateway_statuses,
)
from meshwright.kubernetes.gateways import Gateways
from meshwright.kubernetes.route_statuses import backend_tls_statuses, route_statuses
from meshwright.publisher import client_id
from meshwright.reports import Reports
from store.kubernetes_held import Held
from xds.server import XdsServer
from xds.status import ClientStatus

PATIENCE: Final = 5.0
"""Seconds for which a proxy may be behind before its Gateway is said not to be programmed."""


@dataclass(frozen=True, slots=True)
class _Behind:
    """A gateway of which a proxy has not answered since `since`. Who is late for good stays so until it answers: it is not waited for anew."""

    since: float
    players: tuple[Key, ...]

    def is_late(self, now: float) -> bool:
        return now - self.since >= PATIENCE


class GatewayApiStatuses:
    """Called with a state and the objects that made it, it gives the whole status of each object that has one.

    A Gateway whose proxies here have not answered yet is left out for a while: what is said of a generation is said when they have it. Of
    proxies that another replica serves it is known that their pods take traffic. `clock` is that of the streams, in seconds; `wall` tells
    the time.
    """

    def __init__(
        self,
        made: Gateways,
        certificates: Certificates,
        reports: Reports,
        xds: XdsServer,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._made = made
        self._certificates = certificates
        self._reports = reports
        self._xds = xds
        self._clock = clock
        self._wall = wall
        # Since when each gateway is behind, as far as is known, and who plays it.
        self._behind: dict[Key, _Behind] = {}

    def goes_by(self, state: MeshState) -> tuple[object, ...]:
        """All of it: where the endpoints of services are, no status of the Gateway API says."""
        return state.declared, state.services, state.routing, state.edges, state.backend_tls, state.hosts

    def moves(self) -> object:
        """Another value when it may say something else though neither the state nor the objects are others: some have caught up, or were
        waited for long enough.
        """
        now = self._clock()
        behind = {
            key: each.is_late(now) for key, each in self._behind.items() if is_behind(each.players, self._xds)
        }
        return self._made.moves, self._certificates.loaded, self._certificates.moves, behind

    @property
    def waiting(self) -> bool:
        """Whether it knows nothing yet, and is to be asked again soon."""
        return not self._knows

    @property
    def _knows(self) -> bool:
        """Who has just begun says nothing: what it does not know yet is not therefore wrong."""
        return self._made.known and not self._reports.not_ready()

    def __call__(self, state: MeshState, held: Held) -> Iterable[WishedStatus]:
        if not self._knows:
            return ()
        now = self._clock()
        late = {
            key: _Behind(self._behind[key].since if key in self._behind else now, players)
            for key, players in state.edges.players.items()
            if is_behind(players, self._xds)
        }
        waiting = frozenset(key for key, each in late.items() if not each.is_late(now))
        self._behind = late
        facts = Facts(
            self._certificates.loaded,
            self._certificates.problem,
            self._reports.refused_listeners(self._players(state)),
            {each.key: self._of(each, behind=each.key in late) for each in gateways(state)},
            classes=self._made.classes,
        )
        return _statuses(state, held, facts, waiting, self._wall().strftime("%Y-%m-%dT%H:%M:%SZ"))

    def _players(self, state: MeshState) -> list[ClientStatus]:
        """The streams of proxies of gateways, as `XdsServer.clients` has those of all."""
        now = self._xds.clock()
        found = [
            stream.status(now)
            for players in state.edges.players.values()
            for each in players
            for stream in self._xds.streams_of(client_id(each))
        ]
        return sorted(found, key=lambda status: (status.id, status.connected_at))

    def _of(self, gateway: Gateway, *, behind: bool) -> Made:
        made = self._made.made(gateway)
        return Made(made.addresses, made.problem, made.ready and not behind)


def _statuses(
    state: MeshState, held: Held, facts: Facts, waiting: frozenset[Key], time: str
) -> Iterator[WishedStatus]:
    """Pure, and long: for a thread."""
    facts = replace(facts, invalid=held.refused())
    yield from class_statuses(held.objects, facts, time)
    for found, status in gateway_statuses(state, held.objects, facts, time):
        if found.kind != "Gateway" or found.key not in waiting:
            yield found, status
    yield from route_statuses(state, held.objects, facts, time)
    yield from backend_tls_statuses(state, held.objects, facts, time)


def is_behind(players: Iterable[Key], xds: XdsServer) -> bool:
    """Whether a proxy of `players` that is served here has not answered to all that it was sent."""
    now = xds.clock()
    return any(not stream.heard(now) for each in players for stream in xds.streams_of(client_id(each)))
