"""The quarantine: documents that Envoys refuse, and their release."""

from __future__ import annotations

from typing import Final

from api.errors import NotFound
from api.roles import Role
from api.routing import Answer, Call, NoQuery, Route
from api.shapes.quarantine import QuarantineList, QuarantineReleased
from mesh.names import Key


async def list_quarantined(call: Call[NoQuery, None]) -> QuarantineList:
    every = call.backend.quarantined()
    return QuarantineList(items=tuple(each for each in every if call.caller.may(Role.VIEWER, each.namespace)))


async def release(call: Call[NoQuery, None]) -> QuarantineReleased:
    kind, key = call.path["kind"], Key(call.path["namespace"], call.path["name"])
    number = call.backend.release_quarantined((kind, key))
    if not number:
        raise NotFound(f"{kind} {key} is not in quarantine: GET /api/v1/quarantine shows what is")
    call.told["released"] = number
    return QuarantineReleased(released=number)


ROUTES: Final = (
    Route(
        "GET",
        "/quarantine",
        "listQuarantine",
        "Documents that are set aside because Envoy refuses what they make",
        list_quarantined,
        {200: Answer(QuarantineList, "By document, with Envoy's words.")},
        tag="Mesh",
    ),
    Route(
        "POST",
        "/quarantine/{kind}/{namespace}/{name}/release",
        "releaseQuarantined",
        "Send a document to everybody again, as it is",
        release,
        {200: Answer(QuarantineReleased, "It is sent; who refuses it has it set aside again.")},
        tag="Mesh",
        problems=(404,),
        writes=True,
    ),
)
