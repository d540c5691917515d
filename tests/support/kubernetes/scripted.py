"""An API server of a few lines, for what a real one cannot be made to say at a given moment: that it is too busy for one list, that a version
of a kind is gone. It lists what it is told to, refuses when it is told to, and its watches are silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from kube.resource import Object
from tests.support.ports import LOOPBACK, free_port


@dataclass(slots=True)
class Scripted:
    """`served`: what is answered, by path; all else is 404. `refusals`: codes that the next answers of a path have instead, in turn. `asked`:
    the paths that were asked for, without those of watches. `knows`: whether it knows who asks; 401 if it does not.
    """

    port: int
    served: dict[str, Object] = field(default_factory=dict)
    refusals: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    knows: Callable[[web.Request], bool] = lambda _: True
    _ends: dict[str, asyncio.Event] = field(default_factory=dict)

    def list_of(self, path: str, *items: Object) -> None:
        """`path` lists `items` from now on."""
        self.served[path] = {"metadata": {"resourceVersion": "1"}, "items": list(items)}

    def has(self, path: str, *plurals: str) -> None:
        """The group and version at `path` has these resources, of which there is no object."""
        group, _, version = path.rpartition("/")
        self.served.setdefault(group, {"versions": []})["versions"].append({"version": version})
        self.served[path] = {"resources": [{"name": each} for each in plurals]}
        for each in plurals:
            self.list_of(f"{path}/{each}")

    def has_not(self, path: str) -> None:
        """Nor anything below it: watches of it end."""
        group, _, version = path.rpartition("/")
        if group in self.served:
            self.served[group]["versions"].remove({"version": version})
        for each in [each for each in self.served if f"{each}/".startswith(f"{path}/")]:
            del self.served[each]
            if each in self._ends:
                self._ends.pop(each).set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if not self.knows(request):
            return web.json_response({"code": 401, "message": "Unauthorized"}, status=401)
        if "watch" in request.query and path in self.served:
            return await self._watch(request)
        self.asked.append(path)
        if codes := self.refusals.get(path):
            return web.json_response({"message": "not now"}, status=codes.pop(0))
        if path not in self.served:
            return web.json_response({"message": "not found"}, status=404)
        return web.json_response(self.served[path])

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await self._ends.setdefault(request.path, asyncio.Event()).wait()
        return response


@contextlib.asynccontextmanager
async def scripted(tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    made = Scripted(free_port())
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, made.port, ssl_context=tls).start()
    try:
        yield made
    finally:
        made.has_not("")
        await runner.cleanup()
        await asyncio.sleep(0)  # its transports close with the loop's next turn


def kubeconfig(path: Path, server: str, authority: Path | None = None, user: Object | None = None) -> Path:
    """A kubeconfig at `path` of the API server at the URL `server`."""
    cluster: Object = {"server": server}
    if authority is not None:
        cluster["certificate-authority"] = str(authority)
    view = {
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "us", "user": user or {}}],
        "contexts": [{"name": "c", "context": {"cluster": "it", "user": "us"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(view))
    return path
