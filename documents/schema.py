"""JSON schemas (draft 2020-12) of the kinds, from the models that read documents, so that the two cannot differ."""

from __future__ import annotations

from pydantic import JsonValue

from documents.envelope import Kind
from documents.kinds import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(kind: Kind) -> dict[str, JsonValue]:
    """The schema of documents of one kind. What only a whole set of documents can show is not in it."""
    made: dict[str, JsonValue] = {"$schema": DIALECT, **kind.model.model_json_schema(mode="validation")}
    made["title"] = kind.name
    return made


def schemas(kinds: tuple[Kind, ...] = KINDS) -> dict[str, dict[str, JsonValue]]:
    """The schema of each kind, by `<kind>.<apiVersion>`."""
    return {f"{kind.name}.{kind.api_version}": schema(kind) for kind in kinds}
