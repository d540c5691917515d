"""The bases of all shapes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel


class Shape(BaseModel):
    """Frozen; unknown fields are errors. Field names are camelCase in the API, as in documents, and snake_case in Python; both are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Query(BaseModel):
    """The base of queries: their values come as text. Only the names that are documented are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


def _yes_or_no(text: object) -> object:
    """Not all that pydantic takes for one: what is documented."""
    return {"true": True, "false": False}.get(text, text) if isinstance(text, str) else text


YesNo = Annotated[bool, BeforeValidator(_yes_or_no)]
