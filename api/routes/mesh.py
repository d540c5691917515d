"""The mesh as it is now: services, workloads, proxies, sources, certificates, and what is held back."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from api.errors import NotFound
from api.roles import Caller, Role
from api.routing import JSON, Answer, Call, NoQuery, Route
from api.shapes.mesh import (
    Certificate,
    Certificates,
    ConfigDump,
    NamespaceQuery,
    Proxies,
    Released,
    Services,
    Sources,
    Workloads,
)
from api.shapes.status import PlaintextReport, ProxyStatus, Status
from mesh.names import Key


async def status(call: Call[NoQuery, None]) -> Status:
    return call.backend.status()


async def services(call: Call[NamespaceQuery, None]) -> Services:
    found = call.backend.listing().services
    return Services(items=tuple(each for each in found if _shown(call, each.service)))


async def workloads(call: Call[NamespaceQuery, None]) -> Workloads:
    found = call.backend.listing().workloads
    return Workloads(items=tuple(each for each in found if _shown(call, each.workload)))


async def proxies(call: Call[NamespaceQuery, None]) -> Proxies:
    found = call.backend.status().proxies
    return Proxies(items=tuple(each for each in found if _shown(call, each.proxy)))


async def proxy(call: Call[NoQuery, None]) -> Proxies:
    """Several streams may be open for one workload: with and without proof, or two proxies that run as one."""
    key = _key(call)
    found = tuple(each for each in call.backend.status().proxies if _workload_of(each) == key)
    if not found:
        raise _not_connected(key)
    return Proxies(items=found)


async def config_dump(call: Call[NoQuery, None]) -> web.Response:
    key = _key(call)
    dump = await call.backend.config_dump(key)
    if dump is None:
        raise _not_connected(key)
    return web.Response(text=dump, content_type=JSON)


async def sources(call: Call[NoQuery, None]) -> Sources:
    found = call.backend.status()
    return Sources(items=found.sources, holds=found.holds)


async def certificates(call: Call[NoQuery, None]) -> Certificates:
    found = call.backend.status().certificates
    return Certificates(
        items=tuple(
            Certificate(kind=kind, not_after=datetime.fromisoformat(when)) for kind, when in found.items()
        )
    )


async def plaintext(call: Call[NoQuery, None]) -> PlaintextReport:
    return await asyncio.to_thread(call.backend.plaintext())


async def release_all(call: Call[NoQuery, None]) -> Released:
    return _released(call, None)


async def release(call: Call[NoQuery, None]) -> Released:
    return _released(call, Key(call.path["namespace"], call.path["service"]))


def _released(call: Call[Any, Any], service: Key | None) -> Released:
    number = call.backend.release(service)
    if not number:
        nothing = f"there is no hold on {service}" if service is not None else "nothing is held"
        raise NotFound(f"{nothing}: GET /api/v1/sources shows what is")
    call.told["released"] = number
    return Released(released=number)


def _shown(call: Call[NamespaceQuery, Any], name: str) -> bool:
    """Whether `<namespace>/<name>` was asked for, and may be shown."""
    namespace = name.partition("/")[0]
    return call.query.namespace in {None, namespace} and _may(call.caller, namespace)


def _may(caller: Caller, namespace: str) -> bool:
    return caller.may(Role.VIEWER, namespace)


def _key(call: Call[Any, Any]) -> Key:
    return Key(call.path["namespace"], call.path["workload"])


def _workload_of(proxy: ProxyStatus) -> Key:
    """Of `<namespace>/<workload>`, and what may follow for one without proof or without an Envoy."""
    return Key.parse(proxy.proxy.partition(" ")[0])


def _not_connected(key: Key) -> NotFound:
    return NotFound(f"no proxy {key} is connected: GET /api/v1/proxies lists those that are")


ROUTES: Final = (
    Route(
        "GET", "/status", "getStatus", "Every proxy, source, hold and problem", status,
        {200: Answer(Status, "How the mesh is.")}, tag="Mesh",
    ),
    Route(
        "GET", "/services", "listServices", "Services, from all sources", services,
        {200: Answer(Services, "As the mesh has them now.")}, tag="Mesh", query=NamespaceQuery,
    ),
    Route(
        "GET", "/workloads", "listWorkloads", "Workloads, from all sources", workloads,
        {200: Answer(Workloads, "As the mesh has them now.")}, tag="Mesh", query=NamespaceQuery,
    ),
    Route(
        "GET", "/proxies", "listProxies", "Proxies that are connected, or wait", proxies,
        {200: Answer(Proxies, "What each has and has not acknowledged.")}, tag="Mesh", query=NamespaceQuery,
    ),
    Route(
        "GET", "/proxies/{namespace}/{workload}", "getProxy", "The proxies of a workload", proxy,
        {200: Answer(Proxies, "What each has and has not acknowledged.")}, tag="Mesh", problems=(404,),
    ),
    Route(
        "GET", "/proxies/{namespace}/{workload}/config-dump", "getConfigDump", "All that a proxy is given", config_dump,
        {200: Answer(ConfigDump, "Its resources, with where they come from; keys are left out.")}, tag="Mesh", problems=(404,),
    ),
    Route(
        "GET", "/sources", "listSources", "Where services come from, and removals that are held back", sources,
        {200: Answer(Sources, "Each source.")}, tag="Mesh",
    ),
    Route(
        "GET", "/certificates", "listCertificates", "When certificates end", certificates,
        {200: Answer(Certificates, "By kind.")}, tag="Mesh",
    ),
    Route(
        "GET", "/plaintext", "getPlaintext", "Who speaks without mesh TLS, and to whom", plaintext,
        {200: Answer(PlaintextReport, "As far as sidecars have told.")}, tag="Mesh",
    ),
    Route(
        "POST", "/holds/release", "releaseHolds", "Let all removals happen that are held back", release_all,
        {200: Answer(Released, "They happen now.")}, tag="Mesh", problems=(404,), writes=True,
    ),
    Route(
        "POST", "/holds/release/{namespace}/{service}", "releaseHold", "Let the removals of one service happen", release,
        {200: Answer(Released, "They happen now.")}, tag="Mesh", problems=(404,), writes=True,
    ),
)  # fmt: skip
