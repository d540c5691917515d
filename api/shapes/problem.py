"""Errors, as RFC 9457 has them: `application/problem+json`."""

from __future__ import annotations

from pydantic import Field

from api.shapes.shape import Shape

MEDIA_TYPE = "application/problem+json"


class FieldProblem(Shape):
    """One thing that is wrong with what was sent, and the way out."""

    document: str = Field(description="`<kind> <namespace>/<name>`; empty for what is no document's.")
    path: str = Field(description="The field, as `spec.ports[0].port`; empty for all of it.")
    line: int | None = Field(default=None, description="The line of a YAML body, from 1.")
    reason: str
    remedy: str


class FieldOwner(Shape):
    """A field that somebody else owns, and what server-side apply would have changed."""

    document: str
    path: str
    manager: str


class Problem(Shape):
    """What went wrong, why, and what to do next. The members besides those of RFC 9457 are there where they say something."""

    type: str = Field(description="A URI reference that names the sort of problem.")
    title: str = Field(description="The sort of problem, in words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What happened here, and the way out.")
    errors: tuple[FieldProblem, ...] = Field(default=(), description="Everything that is wrong, at once.")
    owners: tuple[FieldOwner, ...] = Field(
        default=(), description="Fields that other field managers own (server-side apply)."
    )
