"""The statuses of the Gateway API's objects as a source for the writer: what the mesh, the proxies and the cluster know, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

PATIENCE: Final = 5.0
"""Seconds for which a proxy may be behind before its Gateway is said not to be programmed."""


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
        self._behind: dict[Key, float] = {}

    def moves(self) -> object:
        """Another value when it may say something else though neither the state nor the objects are others."""
        return self._made.moves, self._certificates.loaded, self._certificates.moves, bool(self._behind)

    @property
    def waiting(self) -> bool:
        """Whether some were left out, and are to be asked for again soon."""
        return bool(self._behind) or not self._knows

    @property
    def _knows(self) -> bool:
        """Who has just begun says nothing: what it does not know yet is not therefore wrong."""
        return self._made.known and not self._reports.not_ready()

    def __call__(self, state: MeshState, held: Held) -> Iterator[WishedStatus]:
        if not self._knows:
            return
        now = self._clock()
        late = {each: self._behind.get(each, now) for each in gateways_behind(state, self._xds)}
        waiting = {each for each, since in late.items() if now - since < PATIENCE}
        self._behind = {each: late[each] for each in waiting}
        facts = Facts(
            self._certificates.loaded,
            self._certificates.problem,
            self._reports.refused_listeners(self._xds.clients()),
            {each.key: self._of(each, behind=each.key in late) for each in gateways(state)},
            held.refused(),
            self._made.classes,
        )
        time = self._wall().strftime("%Y-%m-%dT%H:%M:%SZ")
        yield from class_statuses(held.objects, facts, time)
        for found, status in gateway_statuses(state, held.objects, facts, time):
            if found.kind != "Gateway" or found.key not in waiting:
                yield found, status
        yield from route_statuses(state, held.objects, facts, time)
        yield from backend_tls_statuses(state, held.objects, facts, time)

    def _of(self, gateway: Gateway, *, behind: bool) -> Made:
        made = self._made.made(gateway)
        return Made(made.addresses, made.problem, made.ready and not behind)


def gateways_behind(state: MeshState, xds: XdsServer) -> Iterator[Key]:
    """The gateways of which a proxy here has not answered to all that it was sent."""
    now = xds.clock()
    for key, players in state.edges.players.items():
        streams = (stream for each in players for stream in xds.streams_of(client_id(each)))
        if any(not stream.heard(now) for stream in streams):
            yield key
