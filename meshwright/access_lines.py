"""The last access log entries of each proxy that sends any, kept in memory: `meshwright logs PROXY` and `meshwright top`.

Entries are kept as they came and read only for whoever asks. A noisy proxy crowds out its own entries alone.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from mesh.names import Key
from meshwright.access_logs import Entries, OnEntries
from pb.envoy.config.core.v3.address_pb2 import Address
from pb.envoy.config.core.v3.base_pb2 import RequestMethod
from pb.envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    AccessLogType,
    HTTPAccessLogEntry,
    TCPAccessLogEntry,
)
from policies.access_messages import ON_TRIAL
from policies.log_format import ACCESS, DENIED

PER_PROXY, PROXIES = 200, 200
"""Entries of one proxy, and proxies, of which the one that was silent the longest goes first. About 2 kB an entry."""
UNFINISHED = frozenset({AccessLogType.DownstreamStart, AccessLogType.DownstreamPeriodic})
"""Entries of requests that are not over."""
RBAC = ACCESS, "envoy.filters.network.rbac"
_Entry = HTTPAccessLogEntry | TCPAccessLogEntry


@dataclass(frozen=True, slots=True)
class Access:
    """What one `log` (the name that Envoy gave it) says: one request, or one TCP connection (`method` and `status` are empty). `duration` is
    seconds; None where Envoy does not say, as the status of a request that has only begun. `caller` is who proved to be by the certificate of the connection, empty where nobody did; `details` are Envoy's words for what became
    of it; `policy` refused it, and `would_refuse` would have if it were not on trial.
    """

    number: int
    at: datetime
    log: str
    source: str
    destination: str
    cluster: str
    method: str
    authority: str
    path: str
    status: int | None
    flags: tuple[str, ...]
    duration: float | None
    received: int
    sent: int
    caller: str
    details: str
    policy: str
    would_refuse: str


@dataclass(frozen=True, slots=True)
class Rates:
    """What the entries of one proxy amount to. `over` is seconds; durations are too, None where no entry has one."""

    proxy: Key
    over: float
    count: int
    errors: int
    p50: float | None
    p99: float | None
    crowded: bool


class AccessLines:
    """For the event loop alone. `now` is seconds of a clock that never goes back."""

    def __init__(self, now: Callable[[], float], per_proxy: int = PER_PROXY, proxies: int = PROXIES) -> None:
        self._now = now
        self._per_proxy, self._proxies = per_proxy, proxies
        self._kept: OrderedDict[Key, deque[tuple[int, float, str, _Entry]]] = OrderedDict()
        self._numbers = itertools.count(1)

    def beside(self, listeners: Mapping[str, OnEntries]) -> dict[str, OnEntries]:
        """`listeners`, each of which is given what it was given before, after a look at it."""

        def looking(log: str, listener: OnEntries) -> OnEntries:
            def take(workload: Key, entries: Entries) -> None:
                self.take(workload, entries, log)
                listener(workload, entries)

            return take

        return {name: looking(name, each) for name, each in listeners.items()}

    def take(self, workload: Key, entries: Entries, log: str) -> None:
        kept = self._kept.setdefault(workload, deque(maxlen=self._per_proxy))
        self._kept.move_to_end(workload)
        now = self._now()
        # What would be pushed out at once needs no number.
        for each in entries[-self._per_proxy :]:
            kept.append((next(self._numbers), now, log, each))
        if len(self._kept) > self._proxies:
            self._kept.popitem(last=False)

    def lines(self, workload: Key, count: int, *, after: int = 0) -> list[Access]:
        """The newest `count`, the oldest first; none of a proxy that sends no access logs here."""
        kept = [each for each in self._kept.get(workload, ()) if each[0] > after]
        return [_access(number, log, entry) for number, _, log, entry in kept[-count:]]

    def last(self, workload: Key) -> int:
        kept = self._kept.get(workload)
        return kept[-1][0] if kept else 0

    def rates(self, window: float) -> list[Rates]:
        """Of each proxy, over the last `window` seconds, or since its oldest entry where more has come (`crowded`)."""
        return [self._rates(proxy, window) for proxy in sorted(self._kept)]

    def _rates(self, proxy: Key, window: float) -> Rates:
        now = self._now()
        kept = [(at, entry) for _, at, _, entry in self._kept[proxy] if now - at <= window]
        crowded = len(kept) == self._per_proxy
        over = max(now - kept[0][0], 1.0) if crowded else window
        durations = sorted(
            each for _, entry in kept for each in [_duration(entry.common_properties)] if each is not None
        )
        errors = sum(1 for _, entry in kept if _failed(entry))
        return Rates(
            proxy, over, len(kept), errors, _quantile(durations, 0.5), _quantile(durations, 0.99), crowded
        )


def _access(number: int, log: str, entry: _Entry) -> Access:
    common = entry.common_properties
    at = (
        common.start_time.ToDatetime(UTC) if common.HasField("start_time") else datetime.fromtimestamp(0, UTC)
    )
    http = entry if isinstance(entry, HTTPAccessLogEntry) else None
    details = http.response.response_code_details if http else common.connection_termination_details
    tcp = entry if isinstance(entry, TCPAccessLogEntry) else None
    return Access(
        number,
        at,
        log,
        _address(common.downstream_remote_address),
        _address(common.upstream_remote_address),
        common.upstream_cluster,
        RequestMethod.Name(http.request.request_method) if http else "",
        http.request.authority if http else "",
        # A query may hold what is nobody's business.
        http.request.path.partition("?")[0] if http else "",
        (http.response.response_code.value or None) if http else None,
        tuple(_flags(common)),
        _duration(common),
        http.request.request_body_bytes if http else tcp.connection_properties.received_bytes if tcp else 0,
        http.response.response_body_bytes if http else tcp.connection_properties.sent_bytes if tcp else 0,
        _caller(common),
        details,
        _said(common, "enforced_effective_policy_id") if DENIED in details else "",
        _said(common, f"{ON_TRIAL}shadow_effective_policy_id"),
    )


def _caller(common: AccessLogCommon) -> str:
    names = common.tls_properties.peer_certificate_properties.subject_alt_name
    return next((each.uri for each in names if each.uri), "")


def _said(common: AccessLogCommon, field: str) -> str:
    """What access policies say of it, by what they leave with a request or a connection."""
    told = (common.metadata.filter_metadata[each] for each in RBAC if each in common.metadata.filter_metadata)
    return next((str(each[field]) for each in told if field in each), "")


def _failed(entry: _Entry) -> bool:
    """A 5xx, no answer at all, or a connection that came to nothing."""
    if isinstance(entry, HTTPAccessLogEntry):
        if entry.common_properties.access_log_type in UNFINISHED:
            return False
        return entry.response.response_code.value >= 500 or not entry.response.response_code.value
    return entry.common_properties.HasField("response_flags") and bool(_flags(entry.common_properties))


def _flags(common: AccessLogCommon) -> list[str]:
    """Envoy's words, as upstream_connection_failure."""
    said: dict[str, Any] = MessageToDict(common.response_flags, preserving_proto_field_name=True)
    return sorted(said)


def _duration(common: AccessLogCommon) -> float | None:
    """To the last byte that went to the caller."""
    if not common.HasField("time_to_last_downstream_tx_byte"):
        return None
    taken: Duration = common.time_to_last_downstream_tx_byte
    return taken.ToTimedelta() / timedelta(seconds=1)


def _address(address: Address) -> str:
    socket = address.socket_address
    return f"{socket.address}:{socket.port_value}" if socket.address else ""


def _quantile(values: list[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None
