"""Whether a revision has reached every proxy."""

from __future__ import annotations

from typing import Final

from api.errors import NotFound
from api.roles import Caller, Role
from api.routing import Answer, Call, Route
from api.shapes.acknowledgements import Acknowledgements, AcknowledgementsQuery
from api.store_errors import answered


async def acknowledgements(call: Call[AcknowledgementsQuery, None]) -> Acknowledgements:
    if call.backend.repository is None:
        raise NotFound(
            "this control plane has no store, so there are no revisions to wait for. In a Kubernetes cluster, wait for a document: "
            "kubectl wait --for=condition=Programmed KIND/NAME"
        )
    number = call.path["number"]
    with answered():
        head = await call.backend.repository.head()
    if number > head.number:
        raise NotFound(f"there is no revision {number}: the newest is {head.number}")
    return seen_by(call.caller, await call.backend.acknowledgements(number, call.query.timeout))


def seen_by(caller: Caller, found: Acknowledgements) -> Acknowledgements:
    """`found` with names of the namespaces alone that `caller` may view; of the others, their number."""
    if caller.may(Role.VIEWER):
        return found
    behind = tuple(each for each in found.behind if _may_view(caller, each.proxy.partition(" ")[0]))
    refused = tuple(
        each.model_copy(
            update={"documents": tuple(name for name in each.documents if _may_view(caller, name))}
        )
        for each in found.refused
        if _may_view(caller, each.proxy.partition(" ")[0])
    )
    return found.model_copy(
        update={
            "behind": behind,
            "refused": refused,
            "quarantined": tuple(name for name in found.quarantined if _may_view(caller, name)),
            "unseen": len(found.behind) + len(found.refused) - len(behind) - len(refused),
        }
    )


def _may_view(caller: Caller, name: str) -> bool:
    """`name`: of a proxy, `shop/web-1` (without what stands behind), or of a document, `HTTPRoute shop/web`, with or without where it is from."""
    return caller.may(Role.VIEWER, name.rpartition(" ")[2].partition("/")[0])


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
        "What proxies have of a newer revision counts as well. Proxies and documents are named to those who may view their namespaces; the state and "
        "the numbers are of all.",
    ),
)
