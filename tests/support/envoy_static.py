"""Real Envoys on configurations that `validate.assemble` made: no control plane, the very resources a proxy is given."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from google.protobuf.json_format import MessageToJson

from envoy import names, on_demand
from envoy.launcher import EnvoyProcess, LaunchOptions
from envoy.packing import listen_on
from envoy.render import Rendered, Renderer
from envoy.seams import ListenerSeams
from envoy.validate import assemble
from mesh import backend_tls
from mesh.direct import direct_views
from mesh.gateway_secrets import Loaded, readable
from mesh.gateway_views import gateway_scope, gateway_view
from mesh.gateways import Gateway
from mesh.names import Key
from mesh.secrets import SecretFiles
from mesh.state import MeshState
from mesh.transport import BY_SIDECARS
from mesh.views import (
    OutboundScope,
    endpoints_views,
    inbound_view,
    outbound_listeners_view,
    outbound_scope,
    scope_view,
    service_view,
)
from mesh.virtual import virtual_view
from mesh.workload import Workload
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from policies.transport import called
from policies.weave import Weaver
from tests.support import binaries
from tests.support.envoy_certificates import TestAuthority


def rendered(state: MeshState, workload: str, renderer: Renderer | None = None) -> tuple[Rendered, ...]:
    """Everything that the sidecar of `workload` is given, but its secrets."""
    renderer, weaver = renderer or Renderer(), Weaver()
    caller = state.workloads[Key.parse(workload)]
    if caller.gateway is not None:
        return tuple(_edge(state, caller, caller.gateway, renderer, weaver))
    inbound = inbound_view(state, caller)
    seams = weaver.listeners(state, caller, inbound)
    if caller.on_demand:
        seams = on_demand.discovering(seams)
    made = (
        *_outbound(state, outbound_scope(state, caller), renderer, weaver),
        *renderer.outbound_listeners(outbound_listeners_view(state, caller), seams),
        *renderer.inbound(inbound, seams),
        *_captured(state, caller, renderer, seams),
    )
    assert not weaver.problems, weaver.problems
    return made


def edge_secrets(state: MeshState, authority: TestAuthority) -> Iterator[Secret]:
    """What the proxies of gateways, and callers that verify backends, would be given if every file that a Secret document names could be
    read.
    """
    given = [readable(state, each) for each in state.declared.values() if isinstance(each, Gateway)]
    identity, roots = authority.secrets("spiffe://mesh.test/ns/default/sa/edge")
    for key in sorted({key for each in given for key in each.certificates}):
        identity.name = names.gateway_certificate(key)
        yield Secret.FromString(identity.SerializeToString())
    bundles = {bundle for each in given for bundle in each.bundles}
    for bundle in sorted(bundles.union(backend_tls.bundles(state))):
        roots.name = names.gateway_authorities(*bundle)
        yield Secret.FromString(roots.SerializeToString())


def _edge(
    state: MeshState, caller: Workload, gateway: Key, renderer: Renderer, weaver: Weaver
) -> Iterator[Rendered]:
    """As if every file that a Secret document names could be read."""
    known = [value for value in state.declared.values() if isinstance(value, SecretFiles)]
    loaded = Loaded(
        frozenset(each.key for each in known if each.certificate),
        frozenset(each.key for each in known if each.authorities),
    )
    view = gateway_view(state, gateway, caller, loaded)
    scope = gateway_scope(state, outbound_scope(state, caller), view)
    yield from _outbound(state, scope, renderer, weaver)
    yield from renderer.gateway(view, weaver.gateway(state, caller, view, scope.facets))
    assert not weaver.problems, weaver.problems


def _outbound(
    state: MeshState, scope: OutboundScope, renderer: Renderer, weaver: Weaver
) -> Iterator[Rendered]:
    for key in sorted(state.services):
        if not scope.admits(key):
            continue
        view = service_view(state, key, scope.namespace, scope.certificate)
        yield from renderer.service(view, weaver.service(state, scope, view))
        spread = weaver.spread(state, scope, key)
        views = endpoints_views(state, key, spread, scope.locality, called(state, key, BY_SIDECARS))
        yield from (renderer.endpoints(view) for view in views)
        scopes = scope_view(state, key, scope.namespace)
        if scopes is not None:
            yield from renderer.scopes(scopes)


def _captured(
    state: MeshState, caller: Workload, renderer: Renderer, seams: ListenerSeams
) -> Iterator[Rendered]:
    if caller.interception is None:
        return
    scope = outbound_scope(state, caller)
    entries, of_callers, taken = [], replace(seams, inbound=()), set[str]()
    for key in sorted(each for each in state.services if scope.admits(each)):
        for direct in direct_views(state, key, called(state, key, BY_SIDECARS)):
            made = renderer.direct(direct, of_callers)
            if made.name not in taken:  # see `meshwright.captured.Addresses`
                yield made
            taken.add(made.name)
        view = virtual_view(state, key, scope.namespace)
        if view is not None:
            entries.append(renderer.names(view).body)
            yield from renderer.virtual(view, of_callers)
    yield renderer.dns_listener(caller.interception.dns_port, entries, ipv6=caller.interception.ipv6)


@contextlib.asynccontextmanager
async def envoy(
    folder: Path, name: str, resources: Iterable[Rendered], secrets: Sequence[Secret], drain_time: int = 2
) -> AsyncIterator[EnvoyProcess]:
    """A live Envoy that holds `resources`."""
    bootstrap = assemble(resources, secrets)
    bootstrap.node.id = bootstrap.node.cluster = name
    listen_on(bootstrap.admin.address, "127.0.0.1", 0)
    path = folder / f"{name}.json"
    path.touch(mode=0o600)
    path.write_text(MessageToJson(bootstrap))
    options = LaunchOptions(
        Path(binaries.envoy()), path, log=folder / f"{name}.log", concurrency=1, drain_time=drain_time
    )
    process = await EnvoyProcess.start(options)
    try:
        await process.wait_ready(30)
        yield process
    finally:
        await process.stop()


@contextlib.asynccontextmanager
async def application(port: int, name: str = "app") -> AsyncIterator[list[web.Request]]:
    """An HTTP application that answers its name, and what it was asked so far."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response(
            {"name": name, "host": request.host, "xfcc": request.headers.get("x-forwarded-client-cert")},
            headers={"server": "the-app"},
        )

    server = web.Application()
    server.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield seen
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def echo(port: int) -> AsyncIterator[None]:
    """A TCP application that sends back what it gets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with server:
        yield
