"""HTTP for those who watch and operate: two doors.

- TCP (`admin_address`): `/metrics`, `/healthz`, `/readyz` and `/spiffe-bundle`, nothing that tells a secret or changes anything;
- a Unix socket in the data directory, 0600: status, config dumps and commands, for whoever owns the directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.shapes.status import Listing, PlaintextReport, Status
from mesh.names import Key
from meshwright.errors import SettingsError
from meshwright.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Answers:
    """What the doors can tell and do. `config_dump` is None for a proxy that is not connected; `bundle` is a SPIFFE bundle."""

    ready: Callable[[], str | None]
    status: Callable[[], Status]
    listing: Callable[[], Listing]
    config_dump: Callable[[Key], Awaitable[str | None]]
    release: Callable[[Key | None], int]
    refresh_metrics: Callable[[], None]
    plaintext: Callable[[], Callable[[], PlaintextReport]]
    bundle: Callable[[], bytes]


class Admin:
    def __init__(self, answers: Answers, metrics: Metrics) -> None:
        self._answers = answers
        self._metrics = metrics
        self._runners: list[web.AppRunner] = []

    async def start(self, host: str, port: int) -> int:
        """Listen; the TCP port, which is a free one if `port` is 0."""
        public = web.Application()
        public.add_routes(
            [
                web.get("/metrics", self._show_metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/spiffe-bundle", self._bundle),
            ]
        )
        runner = await self._run(public)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"cannot listen on admin_address {host}:{port}: {error.strerror}: is another program on that port?"
            ) from error
        taken: int = runner.addresses[0][1]
        return taken

    def private_routes(self) -> list[web.RouteDef]:
        """For the socket of whoever owns the data directory."""
        return [
            web.get("/status", self._status),
            web.get("/listing", self._listing),
            web.get("/plaintext", self._plaintext),
            web.get("/config-dump/{namespace}/{workload}", self._config_dump),
            web.post("/holds/release", self._release),
            web.post("/holds/release/{namespace}/{service}", self._release),
        ]

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _run(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        return runner

    async def _show_metrics(self, _: web.Request) -> web.Response:
        self._answers.refresh_metrics()
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        """That the event loop answers: a part that broke beyond repair ends the program."""
        return web.Response(text="ok\n")

    async def _bundle(self, _: web.Request) -> web.Response:
        """Our trust bundle, for other trust domains to follow. It is public; who fetches it from afar needs TLS in front of it."""
        return web.Response(body=self._answers.bundle(), content_type="application/json")

    async def _readyz(self, _: web.Request) -> web.Response:
        waiting_for = self._answers.ready()
        if waiting_for is None:
            return web.Response(text="ready\n")
        return web.Response(text=f"not ready: {waiting_for}\n", status=503)

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(text=self._answers.status().model_dump_json())

    async def _listing(self, _: web.Request) -> web.Response:
        return web.json_response(text=self._answers.listing().model_dump_json())

    async def _plaintext(self, _: web.Request) -> web.Response:
        reckon = self._answers.plaintext()
        return web.json_response(text=await asyncio.to_thread(lambda: reckon().model_dump_json()))

    async def _config_dump(self, request: web.Request) -> web.Response:
        workload = Key(request.match_info["namespace"], request.match_info["workload"])
        dump = await self._answers.config_dump(workload)
        if dump is None:
            return web.Response(
                status=404, text=f"no proxy {workload} is connected: `meshwright status` lists those that are"
            )
        return web.json_response(text=dump)

    async def _release(self, request: web.Request) -> web.Response:
        service = None
        if "service" in request.match_info:
            service = Key(request.match_info["namespace"], request.match_info["service"])
        released = self._answers.release(service)
        if not released:
            nothing = f"there is no hold on {service}" if service else "nothing is held"
            return web.Response(status=404, text=f"{nothing}: `meshwright status` shows what is")
        return web.Response(text=f"{released} hold{'' if released == 1 else 's'}")
