"""The last log lines, of the control plane and of proxies, and who is how busy."""

from __future__ import annotations

from typing import Final

from api.routing import Answer, Call, Route
from api.shapes.logs import AccessPage, ControlPlaneLogsQuery, LogPage, ProxyLogsQuery, Top, TopQuery
from mesh.names import Key


async def control_plane(call: Call[ControlPlaneLogsQuery, None]) -> LogPage:
    return call.backend.logs.control_plane(call.query)


async def proxy(call: Call[ProxyLogsQuery, None]) -> AccessPage:
    return call.backend.logs.proxy(Key(call.path["namespace"], call.path["workload"]), call.query)


async def top(call: Call[TopQuery, None]) -> Top:
    return call.backend.logs.top(call.query)


ROUTES: Final = (
    Route(
        "GET",
        "/logs",
        "getLogs",
        "The control plane's last log lines",
        control_plane,
        {200: Answer(LogPage, "Lines, the oldest first.")},
        tag="Mesh",
        query=ControlPlaneLogsQuery,
        description="They are kept in memory, some thousands; ask again with `after` to follow them.",
    ),
    Route(
        "GET",
        "/logs/{namespace}/{workload}",
        "getProxyLogs",
        "The last access log entries of a proxy",
        proxy,
        {200: Answer(AccessPage, "Entries, the oldest first.")},
        tag="Mesh",
        query=ProxyLogsQuery,
        problems=(404,),
        description="Of proxies that send access logs to the control plane: those of ports that take plaintext, those that a rollout watches, and those that are watched by asking here.",
    ),
    Route(
        "GET",
        "/top",
        "getTop",
        "How busy each proxy is",
        top,
        {200: Answer(Top, "Every proxy that is connected or has sent access logs.")},
        tag="Mesh",
        query=TopQuery,
    ),
)
