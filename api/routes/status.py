"""How the mesh is: what `meshwright status` shows."""

from __future__ import annotations

from typing import Final

from api.routing import Answer, Call, NoQuery, Route
from api.shapes.status import Status


async def status(call: Call[NoQuery, None]) -> Status:
    return call.backend.status()


ROUTES: Final = (
    Route(
        "GET",
        "/status",
        "getStatus",
        "Every proxy, source, hold and problem",
        status,
        {200: Answer(Status, "How the mesh is.")},
        tag="Mesh",
    ),
)
