"""What an answer can be besides a good one. Each is told as a `Problem` (RFC 9457).

ApiError                  `detail`: what happened, and the way out
├── BadRequest            400 the request is not as /openapi.json describes it
├── Unauthenticated       401 nobody known has sent it
├── Forbidden             403 who sent it may not
├── NotFound              404
├── TooSlow               408 the body did not come
├── Conflicting           409 another has it, or changed it meanwhile
├── TooOld                410 that history is not kept any more
├── PreconditionFailed    412 If-Match or If-None-Match does not hold
├── TooLarge              413
├── UnknownMediaType      415
├── Unprocessable         422 it is as described, and wrong all the same
├── TooManyRequests       429 `retry_after`: seconds
├── Unavailable           503 something that is needed does not answer
└── InsufficientStorage   507 the store is full
"""

from __future__ import annotations

from typing import ClassVar

from api.shapes.problem import FieldOwner, FieldProblem, Problem


class ApiError(Exception):
    """Base of the errors of this package. `headers` go into the answer."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong here"

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldProblem, ...] = (),
        owners: tuple[FieldOwner, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.errors, self.owners, self.headers = detail, errors, owners, headers or {}

    def problem(self) -> Problem:
        return Problem(
            type=f"urn:meshwright:problem:{slug(self.title)}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            errors=self.errors,
            owners=self.owners,
        )


class BadRequest(ApiError):
    status, title = 400, "The request cannot be read"


class Unauthenticated(ApiError):
    status, title = 401, "Who are you"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="meshwright"'})


class Forbidden(ApiError):
    status, title = 403, "Not permitted"


class NotFound(ApiError):
    status, title = 404, "Not found"


class TooSlow(ApiError):
    status, title = 408, "The body did not come"


class Conflicting(ApiError):
    status, title = 409, "Conflict"


class TooOld(ApiError):
    status, title = 410, "No longer kept"


class PreconditionFailed(ApiError):
    status, title = 412, "Changed meanwhile"


class TooLarge(ApiError):
    status, title = 413, "Too large"


class UnknownMediaType(ApiError):
    status, title = 415, "Unknown media type"


class Unprocessable(ApiError):
    status, title = 422, "Not valid"


class TooManyRequests(ApiError):
    status, title = 429, "Too many requests"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(ApiError):
    status, title = 503, "Not available now"


class InsufficientStorage(ApiError):
    status, title = 507, "The store is full"


KINDS: tuple[type[ApiError], ...] = (
    BadRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    TooSlow,
    Conflicting,
    TooOld,
    PreconditionFailed,
    TooLarge,
    UnknownMediaType,
    Unprocessable,
    TooManyRequests,
    Unavailable,
    InsufficientStorage,
)
"""Every one that a route can answer with, in the order of their status."""


def slug(title: str) -> str:
    return title.lower().replace(" ", "-")
