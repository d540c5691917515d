"""Who called whom within the last hour, as far as proxies say: by the access logs that they send to the control plane.

Those whose calls are known are the proxies that a rollout watches, and callers without mesh TLS of any. So it is a part, and whoever uses it says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from envoy import names
from mesh.names import Key
from mesh.state import MeshState
from meshwright.access_logs import Entries, OnEntries
from meshwright.plaintext import places
from pb.envoy.config.core.v3.base_pb2 import RequestMethod
from pb.envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry, TLSProperties

MOST: Final = 5_000
"""Calls that differ in anything which is remembered: the one seen longest ago leaves first."""
PROXIES: Final = 10_000
LATELY: Final = 3600.0
LONGEST: Final = 200
"""Characters of a path or a host: what an application says."""
LOGS: Final = frozenset({names.SERVED_LOG, names.PLAINTEXT_LOG})


SubjectAltName = TLSProperties.CertificateProperties.SubjectAltName


@dataclass(frozen=True, slots=True, order=True)
class SeenCall:
    """A call to `workload` as one that serves `port` of `service`. `identity`: the SPIFFE id that the caller proved; empty in plaintext.
    `method` is empty for a connection; `path` has no query.
    """

    service: Key
    port: int
    workload: Key
    identity: str
    address: str
    method: str = ""
    path: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Lately:
    """The calls of the last hour, and of how many proxies there are any."""

    calls: tuple[SeenCall, ...] = ()
    proxies: int = 0


class CallsSeen:
    """Remembers at most `MOST`. Takes entries on the event loop, and neither blocks nor raises."""

    def __init__(self, state: Callable[[], MeshState], clock: Callable[[], float], most: int = MOST) -> None:
        self._state = state
        self._clock = clock
        self._most = most
        # The one seen longest ago first.
        self._seen: OrderedDict[SeenCall, float] = OrderedDict()
        self._told: OrderedDict[Key, float] = OrderedDict()

    def beside(self, listeners: Mapping[str, OnEntries]) -> dict[str, OnEntries]:
        """`listeners`, each of which is given what it was given before, after a look at it."""

        def looking(listener: OnEntries) -> OnEntries:
            def take(workload: Key, entries: Entries) -> None:
                self.take(workload, entries)
                listener(workload, entries)

            return take

        return {name: looking(each) if name in LOGS else each for name, each in listeners.items()}

    def take(self, workload: Key, entries: Entries) -> None:
        """A proxy speaks of calls to its own workload alone."""
        state, now = self._state(), self._clock()
        served = {port: (of.service, of.port) for port, of in places(state, workload).items()}
        for each in entries:
            call = _call(state, workload, served, each)
            if call is not None:
                self._seen[call] = now
                self._seen.move_to_end(call)
        self._told[workload] = now
        self._told.move_to_end(workload)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
        while len(self._told) > PROXIES:
            self._told.popitem(last=False)

    def lately(self) -> Lately:
        now = self._clock()
        for known in (self._seen, self._told):
            _forget(known, now - LATELY)
        return Lately(tuple(self._seen), len(self._told))


def _forget(known: OrderedDict[SeenCall, float] | OrderedDict[Key, float], before: float) -> None:
    while known:
        oldest = next(iter(known.values()))
        if oldest >= before:
            return
        known.popitem(last=False)


def _call(
    state: MeshState,
    workload: Key,
    served: Mapping[int, tuple[Key, int]],
    entry: HTTPAccessLogEntry | TCPAccessLogEntry,
) -> SeenCall | None:
    common = entry.common_properties
    place = _by_name(state, common.tls_properties.tls_sni_hostname) or served.get(
        common.downstream_local_address.socket_address.port_value
    )
    if place is None:
        return None
    identity = _identity(common.tls_properties.peer_certificate_properties.subject_alt_name)
    address = common.downstream_direct_remote_address.socket_address.address[:64]
    if not isinstance(entry, HTTPAccessLogEntry):
        return SeenCall(*place, workload, identity, address)
    request = entry.request
    return SeenCall(
        *place,
        workload,
        identity,
        address,
        RequestMethod.Name(request.request_method) if request.request_method else "GET",
        request.path.partition("?")[0][:LONGEST] or "/",
        request.authority[:LONGEST],
    )


def _by_name(state: MeshState, sni: str) -> tuple[Key, int] | None:
    """`<port>.<service>.<namespace>.<trust domain>`."""
    parts = sni.split(".", 3)
    if len(parts) < 4 or not parts[0].isdigit():
        return None
    service = Key(parts[2], parts[1])
    return (service, int(parts[0])) if service in state.services else None


def _identity(peer: Iterable[SubjectAltName]) -> str:
    """The first SPIFFE id that the peer's certificate names; Envoy has verified it."""
    uris = (each.uri for each in peer)
    return next((uri for uri in uris if uri.startswith("spiffe://")), "")
