"""The filter ExternalAuth of HTTPRoutes (GEP-1494), in the mesh and at a gateway, beside policies of the same subject."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.feature.traffic.test_external_authorization import policy, served
from tests.support.authorizers import GrpcAuthorizer, HttpAuthorizer
from tests.support.traffic.edge import Outside, PublicAuthority, documents, gateway
from tests.support.traffic.routes import grant, route, to
from tests.support.traffic.world import Traffic, World

AUTHZ = "{group: meshwright.dev, kind: ExternalService, name: authz, port: 80}"


def auth(more: str, backend: str = AUTHZ) -> str:
    return f"filters: [{{type: ExternalAuth, externalAuth: {{backendRef: {backend}, {more}}}}}]\n"


def protected(filters: str, path: str = "/") -> str:
    return f"matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n{filters}backendRefs: [{to('api')}]"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outside(world: World) -> AsyncIterator[Outside]:
    ports = {"http": world.ports.take()}
    listeners = f"  - {{name: http, port: {ports['http']}, protocol: HTTP}}\n"
    async with gateway(world, "door", documents("door", listeners), ports, PublicAuthority()) as made:
        yield made


async def test_by_http_with_prefix_headers_and_body(traffic: Traffic) -> None:
    said = "protocol: HTTP, http: {path: /check, allowedHeaders: [X-Authz]}, forwardBody: {maxSize: 1000}"
    async with (
        served(traffic, "http") as (server, document, _),
        traffic.apply(document + route(protected(auth(said)))),
    ):
        assert isinstance(server, HttpAuthorizer)
        headers = {"x-authz": "ok", "authorization": "Basic a", "x-other": "o", "x-user": "forged"}
        passed = await traffic.get("http://api.mesh/a?b", method="POST", headers=headers, body=b"x" * 1000)
        assert (passed.status, passed.seen["x-user"], passed.seen["x-secret"]) == (200, "ann", "s")
        assert passed.seen.get("content-type") != "text/odd"
        request, body = server.asked[-1]
        assert (request.method, request.path_qs, request.host, len(body)) == (
            "POST",
            "/check/a?b",
            "api.mesh",
            1000,
        )
        assert request.headers["authorization"] == "Basic a"
        assert "x-other" not in request.headers
        large = await traffic.get("http://api.mesh/", method="POST", body=b"x" * 1001)
        assert large.status == 413
        refused = await traffic.get("http://api.mesh/", headers={"x-authz": "deny"})
        assert (refused.status, refused.headers["x-why"], refused.text) == (302, "because", "go and log in")
        assert (await traffic.get("http://api.mesh/", headers={"x-authz": "500"})).status == 503
        assert len(traffic.seen("api")) == 1


async def test_by_grpc_for_one_rule_alone_even_if_it_redirects(traffic: Traffic) -> None:
    filters = auth("protocol: GRPC, grpc: {allowedHeaders: [x-authz]}")
    redirect = filters.replace("]\n", ", {type: RequestRedirect, requestRedirect: {hostname: x.example}}]\n")
    rules = (
        protected(filters, "/inner"),
        f"matches: [{{path: {{value: /moved}}}}]\n{redirect}",
        f"backendRefs: [{to('api')}]",
    )
    async with served(traffic, "grpc") as (server, document, _), traffic.apply(document + route(*rules)):
        assert isinstance(server, GrpcAuthorizer)
        deny = {"x-authz": "deny", "x-other": "o"}
        assert (await traffic.get("http://api.mesh/", headers=deny)).status == 200
        assert (await traffic.get("http://api.mesh/inner", headers=deny)).status == 402
        assert (await traffic.get("http://api.mesh/moved", headers=deny)).status == 402
        assert (await traffic.get("http://api.mesh/moved")).status == 302
        assert (await traffic.get("http://api.mesh/inner")).seen["x-user"] == "ann"
        assert "x-other" not in server.asked[0].attributes.request.http.headers
        body = server.asked[0].attributes.request.http.body
        assert not body


async def test_a_caller_that_uses_little_can_ask(traffic: Traffic) -> None:
    said = route(protected(auth("protocol: HTTP, http: {}")).replace("api", "store"), parent="name: store")
    async with served(traffic, "http") as (server, document, _), traffic.apply(document + said):
        assert (await traffic.get("http://store.mesh/", caller="api")).status == 200
        assert len(server.asked) == 1


async def test_what_cannot_be_asked_is_never_skipped(traffic: Traffic) -> None:
    http, grpc = "protocol: HTTP, http: {}", "protocol: GRPC, grpc: {}"
    granted = "{name: other, namespace: other, port: 80}"
    for filters, why in (
        (auth(http, "{name: missing, port: 80}"), "BackendNotFound"),
        (auth(http, "{name: store, port: 81}"), "BackendNotFound"),
        (auth(grpc, "{name: store, port: 80}"), "UnsupportedProtocol"),
        (auth(http, granted), "RefNotPermitted"),
    ):
        async with traffic.apply(route(protected(filters))) as file:
            answer = await traffic.get("http://api.mesh/")
            assert (answer.status, "nobody can be asked" in answer.text) == (500, True), why
            assert file.status is not None
    async with traffic.apply(route(protected(auth(http, granted))) + grant("other")):
        assert (await traffic.get("http://api.mesh/mine")).status == 200
        (asked,) = traffic.seen("other")
        assert (asked.caller, asked.path) == (traffic.member("web").identity, "/mine")
    assert len(traffic.seen("api")) == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_at_a_gateway_beside_policies(traffic: Traffic, outside: Outside, protocol: str) -> None:
    """The filter and the policy that holds for a route are both asked, the policy first."""
    name = protocol.upper()
    own = protected(auth(f"protocol: {name}, {protocol}: {{allowedHeaders: [x-authz]}}"))
    at_door = route(own, gateway="name: door")
    url, deny = "http://shop.example/", {"x-authz": "deny"}
    async with (
        served(traffic, protocol) as (server, document, to_server),
        traffic.apply(document + at_door) as file,
    ):
        assert (await outside.get(url)).status == 200
        assert (await outside.get(url, headers=deny)).status in {302, 402}
        everyone = policy(
            f"{to_server}  add: [{{name: x-by, value: policy}}]\n", "{kind: Workload, name: door-1}"
        )
        await file.replace(document + at_door + everyone)
        server.asked.clear()
        assert (await outside.get(url)).status == 200
        assert len(server.asked) == 2
        route_only = policy("  enabled: false\n", "{kind: HTTPRoute, name: r}", "off")
        await file.replace(document + at_door + everyone + route_only)
        server.asked.clear()
        assert (await outside.get(url)).status == 200
        assert len(server.asked) == 1
        plain = route(f"backendRefs: [{to('api')}]", gateway="name: door")
        narrowed = policy(
            f"{to_server}  requests: [{{paths: [{{prefix: /inner}}]}}]\n",
            "{kind: HTTPRoute, name: r}",
            "narrow",
        )
        await file.replace(document + plain + everyone + narrowed)
        server.asked.clear()
        assert (await outside.get(url)).status == 200
        assert not server.asked
        assert (await outside.get(f"{url}inner")).status == 200
        assert len(server.asked) == 1


async def test_a_policy_of_a_route_of_the_mesh_is_enforced_by_its_callers(traffic: Traffic) -> None:
    async with served(traffic, "http") as (server, document, to_server):
        said = (
            document
            + route(f"backendRefs: [{to('api')}]")
            + policy(f"{to_server}  headers: [x-authz]\n", "{kind: HTTPRoute, name: r}")
        )
        async with traffic.apply(said):
            assert (await traffic.get("http://api.mesh/")).status == 200
            assert (await traffic.get("http://api.mesh/", headers={"x-authz": "deny"})).status == 302
            assert (await traffic.get("http://store.mesh/")).status == 200
            assert len(server.asked) == 2
        said = (
            document
            + route(f"backendRefs: [{to('store')}]", parent="name: store")
            + policy(to_server, "{kind: HTTPRoute, name: r}")
        )
        async with traffic.apply(said):
            answer = await traffic.get("http://store.mesh/", caller="api")
            assert answer.status == 200, "its workload uses nothing but store"
            assert len(server.asked) == 3
