"""Whether a revision has reached every proxy."""

from __future__ import annotations

from typing import Final

from api.errors import NotFound
from api.routing import Answer, Call, Route
from api.shapes.acknowledgements import Acknowledgements, AcknowledgementsQuery
from api.store_errors import answered


async def acknowledgements(call: Call[AcknowledgementsQuery, None]) -> Acknowledgements:
    if call.backend.repository is None:
        raise NotFound("there are no revisions: this control plane has no store")
    number = call.path["number"]
    with answered():
        head = await call.backend.repository.head()
    if number > head.number:
        raise NotFound(f"there is no revision {number}: the newest is {head.number}")
    return await call.backend.acknowledgements(number, call.query.timeout)


ROUTES: Final = (
    Route(
        "GET",
        "/revisions/{number}/acknowledgements",
        "getAcknowledgements",
        "Which proxies have acknowledged a revision",
        acknowledgements,
        {200: Answer(Acknowledgements, "How far it is.")},
        tag="Changes",
        query=AcknowledgementsQuery,
        problems=(404, 503),
        description="With `timeout` the answer comes when every proxy has acknowledged the revision, or refused it, or the time is over. "
        "What proxies have of a newer revision counts as well.",
    ),
)
