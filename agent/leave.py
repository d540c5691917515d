"""Leaving the mesh: callers are told before the proxy ends, and the control plane says when they have heard.

The protocol is `proto/meshwright/leave/v1/leave.proto`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
import grpc.aio
from structlog.typing import FilteringBoundLogger

from agent.identity_store import StoredIdentity
from agent.join import ControlPlane, channel, explained
from mesh.names import Key
from pb.meshwright.leave.v1.leave_pb2 import LeaveRequest, LeaveResponse
from pb.meshwright.leave.v1.leave_pb2_grpc import LeaveServiceStub

PATIENCE: Final = 10.0
"""Seconds for callers to hear of it. A supervisor waits for the end of us, drain included, no longer than it was told."""
AGAIN: Final = 3.0
"""Seconds in which another replica of the control plane is looked for."""
_ASK_AGAIN: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""Nobody answers, or whoever did has ended."""
PAUSE: Final = 0.3
"""Seconds between two tries."""


@asynccontextmanager
async def nobody_is_told() -> AsyncIterator[None]:
    """For a proxy that is not a member of a mesh."""
    yield


@asynccontextmanager
async def left(
    server: ControlPlane,
    workload: Key,
    holder: StoredIdentity,
    *,
    log: FilteringBoundLogger,
    patience: float = PATIENCE,
    insist: bool = False,
) -> AsyncIterator[None]:
    """The context begins when callers have heard that they are not to use `workload`, or cannot be told; the proxy has to end within it.

    `patience` is in seconds. With `insist` a control plane that does not answer is asked again, for `AGAIN` seconds: another one of it may, where
    each connection may lead to another. Raises nothing of its own: a control plane that is away must not keep a proxy from ending.
    """
    async with contextlib.AsyncExitStack() as stack:
        clock = asyncio.get_running_loop().time
        until = clock() + (AGAIN if insist else 0.0)
        try:
            async with asyncio.timeout(patience):
                lagging = -1
                while lagging < 0:
                    opened = await stack.enter_async_context(channel(server, holder))
                    call = LeaveServiceStub(opened).Leave(LeaveRequest(node_id=str(workload)))
                    stack.callback(call.cancel)
                    try:
                        lagging = await _heard(call)
                    except grpc.aio.AioRpcError as error:
                        if error.code() not in _ASK_AGAIN or clock() >= until:
                            raise
                        await asyncio.sleep(PAUSE)
            if lagging:
                log.warning("not all callers have heard that this proxy ends", lagging=lagging)
        except grpc.aio.AioRpcError as error:
            hint = (
                f"is {server.address} its xDS address (--control-plane, 15010 by default), and does it run?"
            )
            reason = str(explained(server, error, hint))
            log.warning("callers are not told that this proxy ends", reason=reason)
        except TimeoutError:
            log.warning("not all callers have heard that this proxy ends", waited=f"{patience:g} s")
        yield


async def _heard(call: grpc.aio.UnaryStreamCall[LeaveRequest, LeaveResponse]) -> int:
    """How many callers have not heard when nobody is waited for any more."""
    while isinstance(answer := await call.read(), LeaveResponse):
        if answer.over:
            return answer.lagging
    return 0
