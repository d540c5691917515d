"""What a route is. The table of them is `api.table`; who may call them, `api.access`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel

from api import media
from api.backend import Backend, Told
from api.roles import Caller
from api.shapes.shape import Query
from documents.reading import Tree

BASE: Final = "/api/v1"
JSON: Final = media.JSON
YAML: Final = media.YAML


class NoQuery(Query):
    """The query of a route that has none: each parameter is an error."""


Asked = TypeVar("Asked", bound=BaseModel)
Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Call(Generic[Asked, Body]):
    """One request, whose sender is known and permitted, and whose parts are read and checked.

    `path` has the parameters of the path, as their types. `told` goes into the audit log with the request.
    """

    request: web.Request
    backend: Backend
    caller: Caller
    path: Mapping[str, Any]
    query: Asked
    body: Body
    told: dict[str, Told] = field(default_factory=dict)
    again: Callable[[], None] = lambda: None
    """Raises ApiError where what the caller showed holds no more: for answers that go on for longer than a moment."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is more than a shape with the status 200. `shape` may be a mapping of values of JSON that are as documented."""

    shape: BaseModel | Mapping[str, Tree] | None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Result = BaseModel | Reply | web.StreamResponse
Handler = Callable[[Call[Any, Any]], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Content:
    """A body: its schema is that of `model`, which reads it. `media` are the types that it may come in.

    Without a model, its route reads it itself; `schemas` then has the name of the schema (a component of /openapi.json, or a model) by media type.
    """

    model: type[BaseModel] | None = None
    media: tuple[str, ...] = (JSON, YAML)
    schemas: Mapping[str, str | type[BaseModel]] = field(default_factory=dict)
    limit: int = 1 << 20
    description: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One way in which a route answers. Without a model, its body is `component` of /openapi.json, or it has none."""

    model: type[BaseModel] | None
    description: str
    component: str = ""
    media: str = JSON
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. `path` is below BASE, unless it begins with `//`, and names its parameters in braces: `api.parameters` knows their types.

    `problems`: how it refuses besides what any route may (400, 401, 403, 429). `writes`: it is in the audit log whenever it is called.
    """

    method: str
    path: str
    operation: str
    summary: str
    handler: Handler
    answers: Mapping[int, Answer]
    tag: str
    query: type[BaseModel] = NoQuery
    content: Content | None = None
    headers: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()
    writes: bool = False
    description: str = ""

    @property
    def full_path(self) -> str:
        return self.path[1:] if self.path.startswith("//") else BASE + self.path

    @property
    def name(self) -> str:
        """As the table of who may what has it."""
        return f"{self.method} {self.full_path}"
