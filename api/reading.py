"""From what was sent to what a handler is given: parameters and bodies. Everything that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from aiohttp import web
from multidict import MultiMapping
from pydantic import BaseModel, ValidationError

from api.errors import BadRequest
from api.shapes.problem import FieldProblem
from documents.reading import show

Model = TypeVar("Model", bound=BaseModel)


def query_of(request: web.Request, model: type[Model]) -> Model:
    """BadRequest, with every parameter that is wrong."""
    given = _once(request.query)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise BadRequest("the query is wrong", errors=field_problems(error)) from error


def _once(query: MultiMapping[str]) -> Mapping[str, str]:
    twice = sorted({name for name in query if len(query.getall(name)) > 1})
    if twice:
        raise BadRequest(f"given more than once in the query: {', '.join(twice)[:200]}: give each once")
    return {name: query[name] for name in query}


def field_problems(error: ValidationError, under: tuple[str, ...] = ()) -> tuple[FieldProblem, ...]:
    """All that pydantic says, without what was sent: it may be a secret."""
    return tuple(
        FieldProblem(
            document="",
            path=show((*under, *each["loc"])),
            reason=each["msg"],
            remedy="See /openapi.json for what it may be",
        )
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    )


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
