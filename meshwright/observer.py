"""What the xDS server tells of itself, as metrics and log lines."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import grpc
import structlog
from prometheus_client import Counter

from ca.rate_limit import Rate, peer_host
from meshwright.audit import AuditLog
from meshwright.floods import Flood
from meshwright.metrics import Metrics
from xds.cache import Generation
from xds.state import Refusal
from xds.types import ALL_TYPES, short_name

log = structlog.get_logger(__name__)

REFUSED = Rate(burst=100, per_second=1)
"""Lines of streams that one host was refused."""
LINES, LATELY = 20, 60.0
"""Refusals of one proxy that are logged in so many seconds: finding a culprit may take hundreds, and a broken proxy never ends."""


class StreamObserver:
    """An `xds.server.Observer`."""

    def __init__(
        self,
        metrics: Metrics,
        closed: Callable[[str], None],
        audit: AuditLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`closed` is told of each stream that ends."""
        self._metrics = metrics
        self._audit = audit
        self._closed = closed
        self._clock = clock
        self._logged: dict[str, tuple[float, int]] = {}
        self._refusals = Flood(clock, REFUSED)
        # Is told of each refusal besides: the client, the type, and what was refused.
        self.on_refusal: Callable[[str, str, Refusal], None] = lambda *_: None
        # Looking a counter up by its label costs more than counting.
        self._pushes = functools.cache(self._counters_of_pushes)
        self._acks = functools.cache(metrics.acks.labels)

    def _counters_of_pushes(self, kind: str) -> tuple[Counter, Counter, Counter]:
        metrics = self._metrics
        return (
            metrics.pushes.labels(kind),
            metrics.push_bytes.labels(kind),
            metrics.push_resources.labels(kind),
        )

    def opened(self, client: str, protocol: str) -> None:
        self._metrics.streams.labels(protocol).inc()
        log.info("proxy connected", proxy=client, protocol=protocol)

    def closed(self, client: str, protocol: str) -> None:
        self._metrics.streams.labels(protocol).dec()
        log.info("proxy disconnected", proxy=client, protocol=protocol)
        self._logged.pop(client, None)
        self._closed(client)

    def refused(self, peer: str, node: str, status: grpc.StatusCode, reason: str) -> None:
        self._metrics.streams_refused.labels(status.name).inc()
        besides = self._refusals.told(peer_host(peer))
        if besides is None:
            return
        told = {"peer": peer, "node": node[:300], "status": status.name, "reason": reason[:600]}
        log.warning("stream refused", **told, besides=besides)
        self._audit.record("stream refused", **told, besides=besides)

    def withheld(self, client: str, type_url: str, names: tuple[str, ...]) -> None:
        self._metrics.withheld.inc(len(names))
        log.warning("a proxy asks for secrets that it has none of", proxy=client, names=names[:10])
        self._audit.record("secret withheld", proxy=client, type=short_name(type_url), names=list(names))

    def sent(self, client: str, type_url: str, resources: int, size: int) -> None:
        del client
        pushes, size_of, count = self._pushes(label(type_url))
        pushes.inc()
        size_of.inc(size)
        count.inc(resources)

    def acknowledged(self, client: str, type_url: str) -> None:
        del client
        self._acks(label(type_url)).inc()

    def rejected(self, client: str, type_url: str, refusal: Refusal) -> None:
        self._metrics.nacks.labels(label(type_url)).inc()
        self.on_refusal(client, type_url, refusal)
        lines = self._lines(client)
        if lines > LINES:
            return
        if lines == LINES:
            log.warning("proxy goes on refusing: see `meshwright status`", proxy=client)
            return
        log.warning(
            "proxy refused resources",
            proxy=client,
            type=short_name(type_url),
            names=refusal.names[:10],
            message=refusal.message[:1000],
            origin=refusal.origin[:10],
        )

    def _lines(self, client: str) -> int:
        """How often `client` has refused something before, lately."""
        now = self._clock()
        since, lines = self._logged.get(client, (now, 0))
        if now - since > LATELY:
            since, lines = now, 0
        self._logged[client] = since, lines + 1
        return lines

    def converged(self, generation: Generation, seconds: float) -> None:
        del generation
        self._metrics.converged.observe(seconds)


def label(type_url: str) -> str:
    """A label of bounded number: a client may ask for any type that it can think of."""
    return short_name(type_url) if type_url in ALL_TYPES else "other"
