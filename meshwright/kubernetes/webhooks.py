"""Where the API server asks: HTTPS, on every replica, with the control plane's own certificate, which renews itself.

The API server verifies it by the `caBundle` of the webhooks' configurations (`meshwright/kubernetes/bundles.py`), under the name of the
Service. What it does while nobody answers is its `failurePolicy`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from api.server import ApiServer
from api.tls import Shown, context
from ca.server_tls import ServerCertificate
from meshwright.errors import SettingsError
from meshwright.kubernetes.admission import Answer, Handler, NotAReview, request_of

MUTATE: Final = "/mutate"
VALIDATE: Final = "/validate"
LONGEST: Final = 8 * 1024 * 1024
"""Bytes of a review: it may hold an object twice, and etcd takes 1.5 MiB of one."""
OFF_LOOP: Final = 64 * 1024
"""Bytes of a review from which it is parsed in a thread."""
PATIENCE: Final = 9.0
"""Seconds for an answer: less than the API server waits, which then hears why there is none."""

log = structlog.get_logger(__name__)


class Webhooks:
    """`handlers` by path."""

    def __init__(self, handlers: Mapping[str, Handler], registry: CollectorRegistry) -> None:
        self._reviews = Counter(
            "meshwright_admission_reviews_total",
            "Objects that the Kubernetes API server has asked about, by what was answered.",
            ["webhook", "answer"],
            registry=registry,
        )
        self.app = web.Application(client_max_size=LONGEST)
        self.app.add_routes([web.post(path, self._asked(path, each)) for path, each in handlers.items()])

    def _asked(self, path: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            try:
                uid, asked = request_of(await _parsed(body))
            except ValueError as error:
                self._reviews.labels(path, "malformed").inc()
                return web.Response(status=400, text=f"{error}\n")
            try:
                async with asyncio.timeout(PATIENCE):
                    answer = await handler(asked)
            except Exception:
                # The server's own log has the object's name alone: what is in it may be secret.
                log.exception("an admission review has no answer", webhook=path, object=_name(asked))
                self._reviews.labels(path, "failed").inc()
                return web.Response(
                    status=500, text="the control plane could not decide: see its log (admission review)\n"
                )
            self._reviews.labels(path, _word(answer)).inc()
            return web.json_response(answer.review(uid))

        return handle


@contextlib.asynccontextmanager
async def serving(webhooks: Webhooks, address: str, certificate: ServerCertificate) -> AsyncIterator[str]:
    """Listen on `address` within the block; where that is. SettingsError if it cannot be had."""

    def newest() -> Shown:
        pair = certificate.pair
        return Shown(pair.generation, pair.key, pair.chain, pair.roots)

    server = ApiServer(webhooks.app)
    await server.start()
    try:
        host, _, port = address.rpartition(":")
        try:
            taken = await server.listen_tcp(host.strip("[]"), int(port), context(newest))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on kubernetes.webhook_address {address}: {error.strerror}: is another program on that port?"
            ) from error
        yield f"{host}:{taken}"
    finally:
        await server.stop()


async def _parsed(body: bytes) -> object:
    """ValueError if it is no JSON."""
    try:
        if len(body) < OFF_LOOP:
            return json.loads(body)
        return await asyncio.to_thread(json.loads, body)
    except RecursionError:
        raise NotAReview("the review is nested too deep") from None


def _word(answer: Answer) -> str:
    if not answer.allowed:
        return "refused"
    return "changed" if answer.patch else "allowed"


def _name(request: Mapping[str, object]) -> str:
    return f"{request.get('resource')} {request.get('namespace')}/{request.get('name')}"[:300]
