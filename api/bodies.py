"""Bodies of requests: bounded in size and in the time that they may take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from api.drafts import Sent
from api.errors import BadRequest, TooLarge, TooSlow, Unprocessable
from api.media import known, tree_of
from api.reading import field_problems
from api.routing import Content

PATIENCE: Final = 30.0
"""Seconds for a whole body."""
OFF_LOOP: Final = 8 * 1024
"""Bytes that are parsed on the event loop; more take longer than it may be held up."""

Model = TypeVar("Model", bound=BaseModel)
Found = TypeVar("Found")


async def body_of(request: web.Request, content: Content) -> Any:
    """What the handler is given: a `content.model`, or `Sent` for a route that reads it itself. ApiError."""
    media = known(request.headers.get("Content-Type", ""), content.media)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequest("Content-Encoding is not read here: send the body as it is")
    data = await _read(request, content.limit)
    if not data.strip():
        raise BadRequest("the body is empty: /openapi.json says what it may be")
    sent = Sent(data, media)
    model = content.model
    if model is None:
        return sent
    return await beside(sent, lambda: parsed(sent, model))


async def beside(sent: Sent, work: Callable[[], Found]) -> Found:
    """What `work` makes of a body: in a thread, if that is large."""
    return work() if len(sent.data) <= OFF_LOOP else await asyncio.to_thread(work)


def parsed(sent: Sent, model: type[Model]) -> Model:
    """What a body says. BadRequest if it cannot be read, Unprocessable with all that is wrong."""
    tree = tree_of(sent.data, sent.media)
    try:
        return model.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise Unprocessable("the body is not what it may be", errors=field_problems(error)) from error


async def _read(request: web.Request, limit: int) -> bytes:
    too_large = TooLarge(f"the body has more than {limit:,} bytes: send less at once")
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    received = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.content.iter_chunked(64 * 1024):
                received += chunk
                if len(received) > limit:
                    raise too_large
    except TimeoutError:
        raise TooSlow(f"the body was not there after {PATIENCE:.0f} s: send it at once") from None
    return bytes(received)
