"""HTTP for those who watch: `/metrics`, `/healthz`, `/readyz` and `/spiffe-bundle`, nothing that tells a secret or changes anything.

Those who operate use the REST API: see `meshwright.api_backend`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from meshwright.errors import SettingsError
from meshwright.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Answers:
    """What it can tell. `ready`: what is waited for, None when proxies are answered. `bundle` is a SPIFFE bundle."""

    ready: Callable[[], str | None]
    refresh_metrics: Callable[[], None]
    bundle: Callable[[], bytes]


class Admin:
    def __init__(self, answers: Answers, metrics: Metrics) -> None:
        self._answers = answers
        self._metrics = metrics
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._show_metrics),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/spiffe-bundle", self._bundle),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which is a free one if `port` is 0."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"cannot listen on admin_address {host}:{port}: {error.strerror}: is another program on that port?"
            ) from error
        taken: int = self._runner.addresses[0][1]
        return taken

    async def stop(self) -> None:
        await self._runner.cleanup()

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
