"""Who still calls without mesh TLS: from what sidecars log of it to the report that an operator reads before switching strict on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from api.shapes.status import PlaintextCall, PlaintextReport, UnstrictPort
from envoy import names
from mesh.names import Key, is_address
from mesh.plaintext_calls import Call, Place, PlaintextCalls, Spoken
from mesh.state import MeshState
from mesh.transport import TlsMode
from mesh.views import inbound_view
from meshwright.access_logs import Entries, OnEntries
from meshwright.metrics import Metrics
from meshwright.publisher import client_ids
from pb.envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry
from policies.transport import Lately, Transport

LATELY = 3600.0
"""Seconds within which a call without mesh TLS speaks against strict."""

GOING_ON = AccessLogType.DownstreamPeriodic, AccessLogType.TcpPeriodic
NAMED = 5
"""Workloads of one address that a report names."""


@dataclass(frozen=True, slots=True)
class PlaintextWatch:
    """Takes what sidecars log, and tells of it. `connected`: the clients that have a stream open, and so would tell.

    What is told is copied on the event loop; what is made of it, which grows with the mesh, is reckoned beside it.
    """

    seen: PlaintextCalls
    state: Callable[[], MeshState]
    connected: Callable[[], frozenset[str]]
    metrics: Metrics
    clock: Callable[[], float]
    replicas: Callable[[], int] = lambda: 1
    """How many control planes there are: sidecars tell the one that they are connected to."""

    def listeners(self) -> dict[str, OnEntries]:
        """By the log's name."""
        return {names.PLAINTEXT_LOG: self._plaintext, names.OWN_TLS_LOG: self._own_tls}

    def _plaintext(self, workload: Key, entries: Entries) -> None:
        self._take(workload, entries, own_tls=False)

    def _own_tls(self, workload: Key, entries: Entries) -> None:
        self._take(workload, entries, own_tls=True)

    def _take(self, workload: Key, entries: Entries, *, own_tls: bool) -> None:
        """A sidecar speaks of its own ports alone: of any other nothing is recorded."""
        known = places(self.state(), workload)
        for each in entries:
            common = each.common_properties
            local = common.downstream_local_address.socket_address.port_value
            place = known.get(local)
            address = common.downstream_direct_remote_address.socket_address.address
            if place is None or not _is_address(address):
                self.metrics.access_log_entries.labels("meaningless").inc()
                continue
            spoken = Spoken.HTTP if isinstance(each, HTTPAccessLogEntry) else Spoken.TCP
            if own_tls:
                spoken = Spoken.TLS
            again = common.access_log_type in GOING_ON or (
                # The beginning was told, unless there was nobody to connect to.
                common.access_log_type == AccessLogType.TcpConnectionEnd
                and common.HasField("upstream_remote_address")
            )
            self.seen.record(place, address, spoken, 0 if again else 1)
            if not again:
                self.metrics.plaintext_calls.labels(spoken.value).inc()

    def lately(self) -> Callable[[], Lately]:
        """By service and port, who called it within the last hour, in words: to be reckoned in any thread."""
        return functools.partial(_lately, self.state(), list(self.seen.calls(LATELY)))

    def refresh_metrics(self) -> None:
        self.metrics.plaintext_callers.set(sum(1 for _ in self.seen.calls(LATELY)))

    def report(self) -> Callable[[], PlaintextReport]:
        """To be reckoned in any thread."""
        state, now, calls, connected = self.state(), self.clock(), list(self.seen.calls()), self.connected()
        watched_for, crowded_out, replicas = now - self.seen.since, self.seen.crowded_out, self.replicas()

        def reckon() -> PlaintextReport:
            who = callers(state)
            return PlaintextReport(
                watched_for=watched_for,
                crowded_out=crowded_out,
                ports=tuple(_ports(state, calls, connected, now)),
                calls=tuple(_shown(each, who, now) for each in calls),
                replicas=replicas,
            )

        return reckon


def places(state: MeshState, workload: Key) -> dict[int, Place]:
    """What the ports of a sidecar, or of the application where calls are intercepted, are for: of several services, the first."""
    found = state.workloads.get(workload)
    if found is None:
        return {}
    return {
        port.sidecar_port: Place(port.served[0].service, port.served[0].port.port)
        for port in inbound_view(state, found).ports
        if port.served
    }


def _lately(state: MeshState, calls: Iterable[Call]) -> dict[tuple[Key, int], tuple[str, ...]]:
    who = callers(state)
    found: dict[tuple[Key, int], list[str]] = {}
    for each in calls:
        named = who.get(each.address, ())
        words = f"{each.address} ({', '.join(named)})" if named else each.address
        found.setdefault((each.place.service, each.place.port), []).append(words)
    return {place: tuple(dict.fromkeys(words)) for place, words in found.items()}


def callers(state: MeshState) -> dict[str, tuple[str, ...]]:
    """The workloads that have an address, by address; of many the first few."""
    found: dict[str, list[str]] = {}
    for key, workload in sorted(state.workloads.items()):
        found.setdefault(workload.address, []).append(str(key))
    return {
        address: (*keys[:NAMED], *((f"{len(keys) - NAMED} more",) if len(keys) > NAMED else ()))
        for address, keys in found.items()
    }


def _ports(
    state: MeshState, calls: Iterable[Call], connected: frozenset[str], now: float
) -> Iterable[UnstrictPort]:
    """All that is not strict."""
    last: dict[Place, float] = {}
    for each in calls:
        last[each.place] = max(each.last, last.get(each.place, each.last))
    transport = Transport(state)
    for service in sorted(state.services):
        members = [key for key in state.members.get(service, ()) if state.workloads[key].meshed]
        found = transport.modes(service)
        for port in sorted({number for _, number in found}):
            place = Place(service, port)
            of_port = sorted({found[member, port].value for member in members if (member, port) in found})
            if not members or of_port == [TlsMode.STRICT.value]:
                continue
            yield UnstrictPort(
                service=str(service),
                port=port,
                modes=tuple(of_port),
                sidecars=len(members),
                connected=sum(not connected.isdisjoint(client_ids(each)) for each in members),
                last=now - last[place] if place in last else None,
            )


def _shown(call: Call, who: dict[str, tuple[str, ...]], now: float) -> PlaintextCall:
    return PlaintextCall(
        service=str(call.place.service),
        port=call.place.port,
        caller=call.address,
        workloads=who.get(call.address, ()),
        spoken=call.spoken.value,
        count=call.count,
        first=now - call.first,
        last=now - call.last,
    )


def _is_address(text: str) -> bool:
    """What a proxy says is kept for days: it is to be short, and what it should be."""
    return len(text) <= 64 and is_address(text)
