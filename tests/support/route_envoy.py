"""One Envoy with one listener and given routes, and applications behind its clusters: what a route does to a request."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yarl
from aiohttp import web
from google.protobuf.message import Message

from envoy import connection, packing
from envoy.render import Rendered
from envoy.route_extensions import CORS_FILTER, SESSION_FILTER
from envoy.seams import add_filters
from mesh.names import Key
from mesh.routes import Match, PathKind, PathMatch
from mesh.rules import BackendView, RuleView
from mesh.targeting import RouteName
from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_components_pb2 import Route
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from tests.support.envoy_static import envoy
from tests.support.ports import free_ports

ROUTE = RouteName("HTTPRoute", Key("default", "r"))


def a_backend(name: str = "a", weight: int = 1, **more: object) -> BackendView:
    """Port 80 of service `name`, whose cluster is `default/<name>:80`."""
    return BackendView(Key("default", name), 80, weight=weight, **more)  # type: ignore[arg-type]


def a_rule(*backends: BackendView, match: Match | None = None, place: int = 0, **more: object) -> RuleView:
    """Every path to service `a`, unless said otherwise."""
    return RuleView(ROUTE, place, match or Match(), backends or (a_backend(),), **more)  # type: ignore[arg-type]


def prefix(value: str, **more: object) -> Match:
    return Match(PathMatch(PathKind.PREFIX, value), **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    every: tuple[tuple[str, str], ...]
    body: dict[str, str]


@dataclass(slots=True)
class Front:
    """Where the listener is, what each application was asked, and a client without memory of cookies."""

    port: int
    asked: dict[str, list[web.Request]]
    client: aiohttp.ClientSession

    async def __call__(
        self, path: str = "/", method: str = "GET", headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.client.request(
            method, yarl.URL(url, encoded=True), headers=list(headers), allow_redirects=False
        ) as got:
            body = await got.json() if got.content_type == "application/json" else {"text": await got.text()}
            every = tuple((name.lower(), value) for name, value in got.headers.items())
            return Answer(got.status, dict(every), every, body)


@contextlib.asynccontextmanager
async def front(folder: Path, routes: Iterable[Route], services: Mapping[str, int]) -> AsyncIterator[Front]:
    """Envoy on `routes`, and as many endpoints of each of `services` as it says."""
    async with contextlib.AsyncExitStack() as stack:
        asked: dict[str, list[web.Request]] = {}
        clusters = []
        for name, count in services.items():
            cluster = Cluster(name=f"default/{name}:80", type=Cluster.STATIC)
            cluster.load_assignment.cluster_name = cluster.name
            locality = cluster.load_assignment.endpoints.add()
            for index in range(count):
                asked[f"{name}-{index}"] = []
                app = _application(f"{name}-{index}", asked[f"{name}-{index}"])
                port = await stack.enter_async_context(_serving(app))
                packing.listen_on(locality.lb_endpoints.add().endpoint.address, "127.0.0.1", port)
            clusters.append(cluster)
        (port,) = free_ports(1)
        resources = [_rendered(each) for each in (*clusters, _listener(port, routes))]
        await stack.enter_async_context(envoy(folder, "front", resources, ()))
        jar = aiohttp.DummyCookieJar()
        yield Front(port, asked, await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar)))


def _listener(port: int, routes: Iterable[Route]) -> Listener:
    made = Listener(name="front")
    packing.listen_on(made.address, "127.0.0.1", port)
    manager = HttpConnectionManager(stat_prefix="front")
    manager.normalize_path.value = True
    configuration = RouteConfiguration(name="front")
    configuration.validate_clusters.value = False
    host = configuration.virtual_hosts.add()
    host.name = "front"
    host.domains.append("*")
    host.routes.extend(routes)
    manager.route_config.CopyFrom(configuration)
    add_filters(manager, (CORS_FILTER, SESSION_FILTER))
    last = manager.http_filters.add()
    last.name = connection.ROUTER
    packing.pack(last.typed_config, Router())
    connection.http_chain(made.filter_chains.add(), manager)
    return made


def _rendered(message: Message) -> Rendered:
    return Rendered(
        packing.PREFIX + message.DESCRIPTOR.full_name,
        str(getattr(message, "name")),  # noqa: B009 - a Message has no such field, those given here have
        message.SerializeToString(deterministic=True),
    )


def _application(name: str, asked: list[web.Request]) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response(
            {
                "name": name,
                "host": request.host,
                "path": request.raw_path,
                **{f"h:{key.lower()}": ",".join(request.headers.getall(key)) for key in request.headers},
            },
            headers={"x-app": "yes", "x-name": name},
        )

    made = web.Application()
    made.router.add_route("*", "/{tail:.*}", answer)
    return made


@contextlib.asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
