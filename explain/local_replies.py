"""Answers that a proxy gives itself: their status, as the client sees it."""

from __future__ import annotations

from explain.answer import Ending, Outcome
from explain.request import Request

GRPC_OF_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md; anything else is UNKNOWN."""
STATUS_OF_GRPC = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500,
    14: 503, 15: 500, 16: 401,
}  # fmt: skip
"""The other way round, as Envoy answers a client that speaks no gRPC."""
GRPC_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def answered(
    request: Request,
    status: int,
    why: str,
    remedy: str = "",
    *,
    clusters: tuple[str, ...] = (),
    grpc: int | None = None,
) -> Outcome:
    """A proxy answers `status`. A gRPC client gets a gRPC status by 200 in its place: `grpc`, or what the status means."""
    if not request.is_grpc:
        return Outcome(Ending.ANSWERED, status, clusters, why=why, remedy=remedy)
    code = grpc if grpc is not None else GRPC_OF_STATUS.get(status, 2)
    return Outcome(Ending.ANSWERED, 200, clusters, why=why, remedy=remedy, grpc=GRPC_NAMES[code])


def redirected(status: int, location: str, why: str) -> Outcome:
    return Outcome(Ending.ANSWERED, status, why=why, location=location)


def closed(why: str, remedy: str = "", clusters: tuple[str, ...] = ()) -> Outcome:
    return Outcome(Ending.CLOSED, None, clusters, why=why, remedy=remedy)
