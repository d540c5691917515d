"""The authority, and the commands for it: what `meshwright ca` shows and does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from api.errors import Conflicting, Unavailable
from api.routing import Answer, Call, Content, NoQuery, Route
from api.shapes.ca import CaStatus, Forgetting, Rotation
from ca.errors import CaError


async def status(call: Call[NoQuery, None]) -> CaStatus:
    return call.backend.ca.status()


async def rotate(call: Call[NoQuery, Rotation]) -> CaStatus:
    wish = call.body
    call.told["what"] = wish.what
    return await _done(lambda: call.backend.ca.rotate(root=wish.what == "root", by_hand=wish.by_hand))


async def abort(call: Call[NoQuery, None]) -> CaStatus:
    return await _done(call.backend.ca.abort)


async def proceed(call: Call[NoQuery, None]) -> CaStatus:
    return await _done(call.backend.ca.proceed)


async def forget(call: Call[NoQuery, Forgetting]) -> CaStatus:
    workload = f"{call.path['namespace']}/{call.path['workload']}"
    call.told["workload"] = workload
    connected = call.body.even_if_connected
    return await _done(lambda: call.backend.ca.forget(workload, even_if_connected=connected))


async def _done(command: Callable[[], Awaitable[CaStatus]]) -> CaStatus:
    try:
        return await command()
    except CaError as error:
        raise Conflicting(str(error)) from error
    except OSError as error:
        raise Unavailable(f"the authority's directory cannot be written: {error}") from error


def _command(path: str, operation: str, summary: str, handler: Any, content: Content | None = None) -> Route:
    problems = (409, 503) if content is None else (409, 413, 415, 422, 503)
    return Route(
        "POST",
        path,
        operation,
        summary,
        handler,
        {200: Answer(CaStatus, "How it is now.")},
        tag="Authority",
        content=content,
        problems=problems,
        writes=True,
    )


ROUTES: Final = (
    Route(
        "GET", "/ca", "getCa", "The authority, and how far a rotation is", status,
        {200: Answer(CaStatus, "How it is now.")}, tag="Authority",
    ),
    _command("/ca/rotate", "rotateCa", "Begin to rotate the root, or renew the intermediate", rotate, Content(Rotation)),
    _command("/ca/abort", "abortRotation", "Go back", abort),
    _command("/ca/proceed", "proceedWithRotation", "Take the next step of a rotation by hand", proceed),
    _command(
        "/ca/forget/{namespace}/{workload}", "forgetWorkload", "Wait no longer for the leaf of a workload", forget, Content(Forgetting),
    ),
)  # fmt: skip
