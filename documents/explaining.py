"""pydantic's errors in our words: the path as a user writes it, what was wrong, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from documents.envelope import Problem
from documents.reading import Path, nearest

WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "enum": "one of a few words",
}


def explained(error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
    """A problem for each error of pydantic's about a document of `model`."""
    for each in error.errors(include_url=False):
        # A wrong key of a mapping is told of with a last step "[key]".
        path: Path = tuple(step for step in each["loc"] if step != "[key]")
        yield Problem(path, *_said(each, path, model))


def _said(error: ErrorDetails, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    """The reason and the remedy."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    match kind:
        case "document":  # raised by a validator of ours
            return str(context["reason"]), str(context["remedy"])
        case "extra_forbidden":
            known = _fields(model, path[:-1])
            guess = nearest(str(path[-1]), known)
            hint = f"Did you mean {guess}? " if guess else ""
            return f"unknown field {path[-1]!r}", f"{hint}Known here: {', '.join(known)}"
        case "missing":
            return f"{path[-1]} is missing", "Add it"
        case "enum" | "literal_error":
            names = re.sub(r"'([^']+)'", r"\1", context["expected"]).replace("''", '""')
            return f"{_shown(given)} is not known here", f"Use {names}"
        case "string_type" if isinstance(given, int | float):
            shown = str(given).lower() if isinstance(given, bool) else str(given)
            return f"{shown} is read as {_named(given)}, and text is wanted", f'Put it in quotes: "{shown}"'
        case "greater_than_equal":
            return f"{_shown(given)} is too small", f"Use {context['ge']} or more"
        case "less_than_equal":
            return f"{_shown(given)} is too large", f"Use {context['le']} or less"
        case "too_short":
            what = "list" if isinstance(given, list) else "mapping"
            return f"the {what} is empty", f"Give at least {context['min_length']}"
        case "too_long":
            return f"{context['actual_length']} are given", f"Give at most {context['max_length']}"
        case "string_too_short":
            return "the text is empty", "Give it, or leave the field out"
        case "string_too_long":
            return f"the text has more than {context['max_length']} characters", "Shorten it"
        case "timezone_aware":
            return f"{_shown(given)} has no time zone", "Add one, as in 2026-01-31T12:00:00Z"
        case _ if kind in WANTED and given is None:
            return "there is nothing here", f"Give {WANTED[kind]}"
        case _ if kind in WANTED:
            return f"{_shown(given)} is {_named(given)}", f"Give {WANTED[kind]}"
        case _:
            return f"{_shown(given)} is not right here", error["msg"]


def _shown(given: object) -> str:
    shown = "nothing" if given is None else repr(given)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _named(given: object) -> str:
    match given:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    """The names of the fields, as documents write them, of the part of `model` at `path`; none if it has none."""
    at: object = model
    for step in path:
        part = _model_in(at)
        if part is None:
            return []
        if isinstance(step, str):
            at = next(
                (each.annotation for name, each in part.model_fields.items() if (each.alias or name) == step),
                None,
            )
    part = _model_in(at)
    return [] if part is None else [each.alias or name for name, each in part.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model in an annotation such as `list[Annotated[UseSpec, ...]] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)
