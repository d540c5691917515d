"""What came of attempts to join and to renew, as metrics, log lines and lines of the audit log."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ca.join import JoinEvent, Outcome
from ca.rate_limit import Rate
from meshwright.audit import AuditLog
from meshwright.floods import Flood
from meshwright.metrics import Metrics

OVER_THE_LIMIT = Rate(burst=1, per_second=0.1)
"""Lines of one host or workload that tries more often than it may: those attempts have no bound of their own."""

log = structlog.get_logger(__name__)


class JoinsTold:
    """Called with each event. Attempts within the limit are told one by one."""

    def __init__(self, metrics: Metrics, audit: AuditLog, monotonic: Callable[[], float]) -> None:
        self._metrics = metrics
        self._audit = audit
        self._over = Flood(monotonic, OVER_THE_LIMIT)

    def __call__(self, event: JoinEvent) -> None:
        self._metrics.joined(event)
        besides: int | None = 0
        if event.status == "RESOURCE_EXHAUSTED":
            besides = self._over.told(event.peer)
            if besides is None:
                return
        told = {
            "peer": event.peer,
            "workload": event.workload[:300],
            "identity": event.identity,
            "by": event.by,
            "status": event.status,
            "reason": event.reason[:600],
        }
        tell = log.warning if event.outcome is Outcome.REFUSED else log.info
        tell("join", outcome=event.outcome.value, **told, besides=besides)
        self._audit.record(event.outcome.value, **told, besides=besides)
