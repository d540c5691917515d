"""Streams of lines of JSON (NDJSON): with heartbeats, and with bounds for whoever reads slowly or never ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

from aiohttp import web
from pydantic import BaseModel

from api.errors import ApiError
from api.routing import Call

MEDIA_TYPE: Final = "application/x-ndjson"
HEARTBEAT: Final = 10.0
"""Seconds without a line after which one says that there was nothing."""
PATIENCE: Final = 30.0
"""Seconds that a reader may take to make room for the next line. What waits for them is bounded by the buffers of one connection."""


class Numbered(Protocol):
    """A line that says where to go on from."""

    @property
    def revision(self) -> int: ...
    def model_dump_json(self, *, by_alias: bool, exclude_none: bool) -> str: ...


async def lines(
    call: Call[Any, Any],
    told: AsyncIterator[Numbered],
    heartbeat: Callable[[int], BaseModel],
    after: int,
) -> web.StreamResponse:
    """All that `told` yields, until its reader goes, or reads too slowly, or may read no more (looked at before each line, so within
    HEARTBEAT seconds): then the connection ends, and the reader goes on where it was.

    An error after the first line ends the stream in its middle, so that no reader takes it for the end.
    """
    with call.backend.streams.one_more(call.caller):
        response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"})
        await response.prepare(call.request)
        async with contextlib.AsyncExitStack() as stack:
            if (close := getattr(told, "aclose", None)) is not None:
                stack.push_async_callback(close)
            coming: asyncio.Task[Numbered] | None = None
            try:
                await _send(call, response, heartbeat(after))
                while True:
                    coming = coming or asyncio.ensure_future(anext(told))
                    done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT)
                    if done:
                        line = coming.result()
                        coming = None
                        after = line.revision
                        await _send(call, response, line)
                    else:
                        await _send(call, response, heartbeat(after))
            except (TimeoutError, ConnectionError):
                _cut(call.request)  # Too slow, or gone.
            except (ApiError, StopAsyncIteration):
                _cut(
                    call.request
                )  # The store went, or its history, or the right to read: whoever asks again is told.
            finally:
                if coming is not None:
                    coming.cancel()
                    with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, ApiError):
                        await coming
        return response


async def _send(call: Call[Any, Any], response: web.StreamResponse, line: Numbered | BaseModel) -> None:
    call.again()
    data = line.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
    async with asyncio.timeout(PATIENCE):
        await response.write(data)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
