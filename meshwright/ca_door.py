"""The admin socket's part for the authority: what `meshwright ca` asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from api.shapes.ca import CaStatus
from ca.errors import CaError
from meshwright.rotation import Rotator


def ca_routes(rotator: Rotator) -> list[web.RouteDef]:
    """For the private application of `meshwright.admin`."""

    async def status(_: web.Request) -> web.Response:
        return _shown(rotator.status())

    async def rotate(request: web.Request) -> web.Response:
        root = request.query.get("what", "root") == "root"
        return await _answer(lambda: rotator.rotate(root=root, by_hand="by-hand" in request.query))

    async def abort(_: web.Request) -> web.Response:
        return await _answer(rotator.abort)

    async def proceed(_: web.Request) -> web.Response:
        return await _answer(rotator.proceed)

    async def forget(request: web.Request) -> web.Response:
        workload = f"{request.match_info['namespace']}/{request.match_info['workload']}"
        connected = "even-if-connected" in request.query
        return await _answer(lambda: rotator.forget(workload, even_if_connected=connected))

    return [
        web.get("/ca", status),
        web.post("/ca/rotate", rotate),
        web.post("/ca/abort", abort),
        web.post("/ca/proceed", proceed),
        web.post("/ca/forget/{namespace}/{workload}", forget),
    ]


async def _answer(command: Callable[[], Awaitable[CaStatus]]) -> web.Response:
    try:
        return _shown(await command())
    except CaError as error:
        return web.Response(status=409, text=str(error))
    except OSError as error:
        return web.Response(status=503, text=f"the authority's directory cannot be written: {error}")


def _shown(status: CaStatus) -> web.Response:
    return web.json_response(text=status.model_dump_json())
