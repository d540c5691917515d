"""The application: routes bound to what they are served from, and errors as problems."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from aiohttp import web
from pydantic import BaseModel

from api.access import NEEDS, check
from api.authentication import Authentication, peer_of
from api.backend import Backend, Told
from api.bodies import body_of
from api.errors import ApiError
from api.parameters import path_parameters
from api.reading import query_of
from api.roles import Caller, Way
from api.routes.description import DESCRIPTION, Description
from api.routing import JSON, Call, Reply, Result, Route
from api.shapes.problem import MEDIA_TYPE, Problem
from api.streams import Room
from api.unseen import HEADER, OF_PROXIES
from documents.envelope import Kind
from documents.reading import Tree

NOT_LET_IN: Final = frozenset({401, 403, 429})

log = structlog.get_logger(__name__)


def application(
    routes: tuple[Route, ...],
    kinds: tuple[Kind, ...],
    backend: Backend,
    authentication: Authentication,
) -> web.Application:
    """Serves `routes` for documents of `kinds`. A route that `api.access` does not name raises KeyError."""
    app = web.Application(middlewares=[_problems])
    app[DESCRIPTION] = Description(routes, kinds, backend.version)
    room = Room()
    for route in routes:
        app.router.add_route(
            route.method, route.full_path, _bound(route, backend, authentication, room), name=route.operation
        )
    return app


def _bound(
    route: Route, backend: Backend, authentication: Authentication, room: Room
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    need, of_proxies = NEEDS[route.name], route.name in OF_PROXIES

    async def serve(request: web.Request) -> web.StreamResponse:
        caller, told = Caller("unknown", Way.NOTHING, peer_of(request)), dict[str, Told]()
        try:
            caller = await authentication.caller(request, public=need is None)
            path = path_parameters(request.match_info)
            check(need, caller, path.get("namespace"))
            query = query_of(request, route.query)
            with room.taken(caller, _size(request, route)):
                body = await body_of(request, route.content) if route.content is not None else None
                call: Call[Any, Any] = Call(
                    request,
                    backend,
                    caller,
                    path,
                    query,
                    body,
                    told,
                    lambda: authentication.again(request, caller),
                )
                answer = await _answered(await route.handler(call))
        except ApiError as error:
            error.headers.update(_unseen(backend, of_proxies=of_proxies))
            if route.writes or error.status in NOT_LET_IN:
                said: dict[str, Told] = {"status": error.status, "refusal": error.detail}
                # Told by caller and address: a stranger's flood hides nothing of those who are known.
                teller = f"{caller.peer} {caller.name}"
                backend.record_refusal(
                    teller, "api refused", {**_who(route, request, caller), **told, **said}
                )
            raise
        if route.writes:
            backend.record("api write", {**_who(route, request, caller), **told})
        if not answer.prepared:
            answer.headers.update(_unseen(backend, of_proxies=of_proxies))
        return answer

    return serve


def _unseen(backend: Backend, *, of_proxies: bool) -> dict[str, str]:
    said = backend.unseen() if of_proxies else ""
    return {HEADER: said} if said else {}


def _size(request: web.Request, route: Route) -> int:
    """Bytes that the body may have; of one that does not say, as many as its route reads."""
    if route.content is None:
        return 0
    said = request.content_length
    return route.content.limit if said is None else min(said, route.content.limit)


def _who(route: Route, request: web.Request, caller: Caller) -> dict[str, Told]:
    """What the audit log is told of every request. Nothing of the body: it may hold anything."""
    return {
        "operation": route.operation,
        "caller": caller.name,
        "from": caller.peer,
        "path": request.path,
        "reason": request.query.get("reason", ""),
    }


async def _answered(result: Result) -> web.StreamResponse:
    if isinstance(result, web.StreamResponse):
        return result
    reply = Reply(result) if isinstance(result, BaseModel) else result
    # What is long is written beside the event loop; nobody knows beforehand what is.
    body = None if reply.shape is None else await asyncio.to_thread(_written, reply.shape)
    return web.Response(
        body=body, status=reply.status, headers=reply.headers, content_type=JSON if body else None
    )


def _written(shape: BaseModel | Mapping[str, Tree]) -> bytes:
    text = shape.model_dump_json(by_alias=True) if isinstance(shape, BaseModel) else json.dumps(shape)
    return text.encode()


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What went wrong, as a problem. What nobody foresaw is logged, and told without its words: they may hold a secret."""
    try:
        return await handler(request)
    except ApiError as error:
        return _told(error.problem(), error.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _told(_of_http(request, error), headers)
    except Exception:
        log.exception("a request could not be answered", method=request.method, path=request.path)
        return _told(
            ApiError("the control plane failed to answer: its log says why, and it goes on").problem(), {}
        )


def _of_http(request: web.Request, error: web.HTTPException) -> Problem:
    """What aiohttp itself refuses."""
    details = {
        404: f"there is no route {request.method} {request.path[:200]}: /openapi.json lists them",
        405: f"{request.method} is not a method of {request.path[:200]}: the header Allow lists those that are",
    }
    detail = details.get(error.status, error.reason)
    return Problem(type="about:blank", title=error.reason, status=error.status, detail=detail)


def _told(problem: Problem, headers: dict[str, str]) -> web.Response:
    body = json.dumps(problem.model_dump(mode="json", by_alias=True, exclude_defaults=True)).encode()
    return web.Response(body=body, status=problem.status, headers=headers, content_type=MEDIA_TYPE)
