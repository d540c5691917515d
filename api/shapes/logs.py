"""Log lines of the control plane and of proxies, and what proxies' access logs amount to."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from api.shapes.shape import Query, Shape, YesNo

Number = int
LINES = 200


class LogsQuery(Query):
    lines: int = Field(default=LINES, ge=1, le=5_000, description="At most so many, the newest.")
    after: int = Field(default=0, ge=0, le=2**53 - 1, description="Only lines after the one of this number.")


class ControlPlaneLogsQuery(LogsQuery):
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="debug", description="Of this level and above."
    )


class LogLine(Shape):
    """`fields`: what the line says besides, as text and numbers."""

    number: int
    at: datetime
    level: str
    event: str
    fields: dict[str, JsonValue]


class LogPage(Shape):
    """The oldest first. `last`: the number of the newest line that there is, to ask for later ones with `after`."""

    items: tuple[LogLine, ...]
    last: int


class ProxyLogsQuery(LogsQuery):
    watch: YesNo = Field(
        default=False,
        description="Let this proxy report what it handles, for some 15 seconds from now on; ask again to go on.",
    )


class AccessLine(Shape):
    """What `log` of the proxy says: a request, or a TCP connection, of which `method` is empty and `status` null. `duration` is seconds; queries of paths are left out. The status of a
    request that has only begun is null. `caller`: who proved to be by the certificate of the connection, empty where nobody did. `details`: Envoy's words for
    what became of it. `policy`: which AccessPolicy refused it; `wouldRefuse`: which would have, if it were not on trial.
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
    caller: str = ""
    details: str = ""
    policy: str = ""
    would_refuse: str = ""


class AccessPage(Shape):
    """The oldest first. `last` as of log lines. `sends`: whether this proxy has sent any access log; `watched`: whether it reports because
    this was asked for.
    """

    items: tuple[AccessLine, ...]
    last: int
    sends: bool
    watched: bool


class TopQuery(Query):
    window: int = Field(default=60, ge=1, le=3600, description="Seconds that rates are over.")


class ProxyTop(Shape):
    """How busy a proxy is. `measured`: whether its access logs say so; without them the numbers of requests are null.

    `over`: seconds that the rates are over. Durations are seconds. `behind`: types of resources that it has not acknowledged.
    `configuration`: bytes that it is given, null for what is no caller.
    """

    proxy: str
    connected: bool
    measured: bool
    over: float | None
    requests_per_second: float | None
    errors: float | None = Field(description="The share of requests that failed, from 0 to 1.")
    p50: float | None
    p99: float | None
    configuration: int | None
    behind: tuple[str, ...]
    refused: tuple[str, ...]


class Top(Shape):
    items: tuple[ProxyTop, ...]
