"""OpenAPI 3.1 from the table of routes and the models that read and write what is sent: so that they cannot differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.access import NEEDS
from api.errors import KINDS as PROBLEMS
from api.parameters import PATH
from api.preconditions import IF_MATCH, IF_NONE_MATCH
from api.routing import Answer, Content, NoQuery, Route
from api.shapes.problem import MEDIA_TYPE, Problem
from documents.envelope import Kind, Metadata

Json = dict[str, Any]
Mode = Literal["validation", "serialization"]
TEMPLATE: Final = "#/components/schemas/{model}"
COMPONENT: Final = "x-component"
"""In a schema of ours: stands for a component that no model describes."""
EVERYWHERE: Final = (400, 401, 403, 429)
WITH_BODY: Final = (408, 413, 415, 422)
HEADERS: Final[Mapping[str, Json]] = {
    IF_MATCH: {
        "name": IF_MATCH,
        "in": "header",
        "schema": {"type": "string", "pattern": r'^(\*|"[!#-~]{0,100}")$'},
        "description": "Only if the document has this version: an ETag, or * for any.",
    },
    IF_NONE_MATCH: {
        "name": IF_NONE_MATCH,
        "in": "header",
        "schema": {"type": "string", "pattern": r'^(\*|"[!#-~]{0,100}")$'},
        "description": "To read: only if it has another version. To write: only if it is not there (*).",
    },
}
ANSWER_HEADERS: Final[Mapping[str, Json]] = {
    "ETag": {"description": "The document's resource version.", "schema": {"type": "string"}},
}


def described(routes: Iterable[Route], kinds: tuple[Kind, ...], version: str) -> bytes:
    """The document, as JSON. Takes some hundred milliseconds."""
    return json.dumps(document(tuple(routes), kinds, version), separators=(",", ":")).encode()


def document(routes: tuple[Route, ...], kinds: tuple[Kind, ...], version: str) -> Json:
    wanted = dict.fromkeys(_models(routes, kinds))
    found, definitions = models_json_schema(list(wanted), by_alias=True, ref_template=TEMPLATE)
    schemas: Json = dict(definitions.get("$defs", {}))
    schemas |= _components(found, kinds)
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.full_path, {})[route.method.lower()] = _operation(route, found)
    made: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Meshwright",
            "version": version,
            "description": "Documents and their history, the mesh as it is, and the commands of operators.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "`meshwright api-token create`"},
                "certificate": {
                    "type": "mutualTLS",
                    "description": "Of the mesh; the setting api_clients says what it may.",
                },
            },
        },
    }
    resolved: Json = _resolved(made)
    return resolved


def _models(routes: tuple[Route, ...], kinds: tuple[Kind, ...]) -> Iterator[tuple[type[BaseModel], Mode]]:
    yield Problem, "serialization"
    for route in routes:
        yield route.query, "validation"
        for answer in route.answers.values():
            if answer.model is not None:
                yield answer.model, "serialization"
        if route.content is not None:
            for schema in (route.content.model, *route.content.schemas.values()):
                if isinstance(schema, type):
                    yield schema, "validation"
    yield Metadata, "validation"
    for kind in kinds:
        yield kind.model, "validation"


def _components(found: Mapping[Any, Json], kinds: tuple[Kind, ...]) -> Json:
    """Schemas that no model describes."""
    metadata = found[Metadata, "validation"]
    models = dict.fromkeys(kind.model for kind in kinds)
    names = sorted({kind.name for kind in kinds})
    head: Json = {"apiVersion": {"type": "string"}, "kind": {"enum": names}, "metadata": metadata}
    return {
        "Document": {
            "description": "A document, as it was written, with what the store and the mesh know of it.",
            "type": "object",
            "properties": {
                **head,
                "spec": {"type": "object"},
                "status": {
                    "description": "What the mesh says of it: origin, inForce, conditions, notes, errors; readOnly for documents of files.",
                    "type": "object",
                },
            },
            "required": ["apiVersion", "kind", "metadata"],
        },
        "WrittenDocument": {
            "description": "A document of one of the kinds. Which of them is said by apiVersion and kind.",
            "anyOf": [found[model, "validation"] for model in models],
        },
        "AppliedDocument": {
            "description": "The part of a document that its field manager wants to be there.",
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"enum": names},
                "metadata": {"type": "object"},
                "spec": {"type": "object"},
            },
        },
        "Anything": {"type": "object"},
        "Text": {"type": "string"},
        "MergePatch": {"description": "A merge patch (RFC 7396).", "type": "object"},
    }


def _operation(route: Route, found: Mapping[Any, Json]) -> Json:
    need = NEEDS[route.name]
    made: Json = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            *_path_parameters(route),
            *_query_parameters(route),
            *(HEADERS[name] for name in route.headers),
        ],
        "responses": _responses(route, found),
        "security": [] if need is None else [{"token": []}, {"certificate": []}],
    }
    said = f"Needs the role {need.role} ({need.where.value})." if need is not None else ""
    made["description"] = f"{route.description} {said}".strip()
    if route.content is not None:
        made["requestBody"] = {
            "required": True,
            "description": route.content.description,
            "content": {
                media: {"schema": _body_schema(route.content, media, found)} for media in route.content.media
            },
        }
    return made


def _path_parameters(route: Route) -> Iterator[Json]:
    for part in route.full_path.split("/"):
        if part.startswith("{"):
            name = part.strip("{}")
            schema = PATH[name].json_schema()
            about = schema.pop("description", None)
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "schema": schema,
                **({"description": about} if about else {}),
            }


def _query_parameters(route: Route) -> Iterator[Json]:
    if route.query is NoQuery:
        return
    schema = route.query.model_json_schema(by_alias=True, ref_template=TEMPLATE)
    required = schema.get("required", [])
    for name, given in schema.get("properties", {}).items():
        about = given.pop("description", None)
        given.pop("title", None)
        choices = [each for each in given.get("anyOf", []) if each != {"type": "null"}]
        if "anyOf" in given:  # Nobody sends null in a query: they leave it out.
            given = choices[0] if len(choices) == 1 else {"anyOf": choices}  # noqa: PLW2901
        yield {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": given,
            **({"description": about} if about else {}),
        }


def _body_schema(content: Content, media: str, found: Mapping[Any, Json]) -> Json:
    schema = content.schemas.get(media, content.model)
    if isinstance(schema, str):
        return {"$ref": TEMPLATE.format(model=schema)}
    return found[schema, "validation"] if schema is not None else {}


def _responses(route: Route, found: Mapping[Any, Json]) -> Json:
    made: Json = {str(status): _answer(answer, found) for status, answer in route.answers.items()}
    need = NEEDS[route.name]
    statuses = {*(EVERYWHERE if need is not None else (400, 429)), *route.problems}
    if route.content is not None:
        statuses |= {*WITH_BODY}
    titles = {each.status: each.title for each in PROBLEMS}
    for status in sorted(statuses):
        made[str(status)] = {
            "description": titles.get(status, HTTPStatus(status).phrase),
            "content": {MEDIA_TYPE: {"schema": found[Problem, "serialization"]}},
        }
    return made


def _answer(answer: Answer, found: Mapping[Any, Json]) -> Json:
    made: Json = {"description": answer.description}
    if answer.headers:
        made["headers"] = {name: ANSWER_HEADERS[name] for name in answer.headers}
    if answer.model is not None:
        made["content"] = {answer.media: {"schema": found[answer.model, "serialization"]}}
    elif answer.component:
        made["content"] = {answer.media: {"schema": {"$ref": TEMPLATE.format(model=answer.component)}}}
    return made


def _resolved(tree: Any) -> Any:
    """`tree` with references in place of what stands for components."""
    if isinstance(tree, dict):
        if COMPONENT in tree:
            return {"$ref": TEMPLATE.format(model=tree[COMPONENT])}
        return {name: _resolved(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_resolved(each) for each in tree]
    return tree
