"""What is told of a rotation of the root as it goes: in the log now and then, as metrics, and as warnings of a root that ends soon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from ca.rotation import Lag, RotatingAuthority, Stage, awaits_operator

REPEAT: Final = timedelta(minutes=10)
"""How often it is told in the log whom a rotation waits for; and a root that ends soon, each day."""
SOON: Final = 0.1, timedelta(days=180)
"""A root ends soon when this part of its life is left, and no more than so many days."""

log = structlog.get_logger(__name__)


class RotationTold:
    def __init__(self, authority: RotatingAuthority, registry: CollectorRegistry) -> None:
        self._authority = authority
        self._told: tuple[datetime, Stage] | None = None
        self._warned: datetime | None = None
        self._stages = Gauge(
            "meshwright_ca_rotation_stage",
            "1 for the stage in which the rotation of the authority's root is; stable: none goes on.",
            ["stage"],
            registry=registry,
        )
        self._lagging = Gauge(
            "meshwright_ca_rotation_lagging",
            "Certificates whose holders the rotation of the root waits for.",
            registry=registry,
        )
        self.measure(())

    def began(self) -> None:
        """A stage has begun, or turned."""
        self._told = None
        self.measure(())

    def measure(self, lags: Iterable[Lag]) -> None:
        for stage in Stage:
            self._stages.labels(stage.value).set(self._authority.rotation.stage is stage)
        self._lagging.set(len(list(lags)))

    def waits(self, lags: list[Lag], now: datetime) -> None:
        """Say now and then whom it waits for."""
        rotation = self._authority.rotation
        if self._told is None:
            self._told = now, rotation.stage  # most stages are over before anybody need know
            return
        since, stage = self._told
        if stage is rotation.stage and now - since < REPEAT:
            return
        self._told = now, rotation.stage
        if awaits_operator(rotation) and not lags:
            log.info("the rotation of the root waits for `meshwright ca proceed`", stage=rotation.stage.value)
        elif lags:
            log.warning(
                "the rotation of the root waits",
                stage=rotation.stage.value,
                since=iso(rotation.since),
                number=len(lags),
                workloads=sorted({lag.leaf.workload or "(unknown)" for lag in lags})[:10],
                hint="see `meshwright ca status`",
            )

    def warn(self, now: datetime) -> None:
        """Each day."""
        if self._warned is not None and now - self._warned < timedelta(days=1):
            return
        self._warned = now
        for text in self.warnings(now):
            log.warning(text)

    def warnings(self, now: datetime) -> Iterator[str]:
        status = self._authority.status()
        part, most = SOON
        left = status.root_not_after - now
        if left < min(part * (status.root_not_after - status.root_not_before), most):
            yield (
                f"the root ends at {iso(status.root_not_after)}, in {left.days} days: "
                f"begin to move to a new one now: {status.remedy}"
            )


def iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
