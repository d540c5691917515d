"""ExternalAuthorization: real sidecars ask real services, by gRPC and by HTTP, which permit, refuse, fail, are slow, and lie."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.feature.traffic.test_access_log import lines
from tests.feature.traffic.test_access_log import policy as access_log
from tests.support.authorizers import SLOW, GrpcAuthorizer, HttpAuthorizer
from tests.support.traffic.client import Answer
from tests.support.traffic.draining import drained
from tests.support.traffic.world import Traffic

API = "{kind: Service, name: api}"
Authorizer = GrpcAuthorizer | HttpAuthorizer


def policy(spec: str, target: str = API, name: str = "authz") -> str:
    return f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: ExternalAuthorization
metadata: {{name: {name}}}
spec:
  targetRefs: [{target}]
{spec}
"""


@contextlib.asynccontextmanager
async def served(traffic: Traffic, protocol: str) -> AsyncIterator[tuple[Authorizer, str, str]]:
    """The server, the document by which the mesh knows it, and how a policy names it."""
    port = traffic.port()
    document = f"""
---
apiVersion: meshwright.dev/v1alpha1
kind: ExternalService
metadata: {{name: authz}}
spec:
  hosts: [authz.example]
  ports: [{{name: main, port: 80, protocol: {protocol}, targetPort: {port}}}]
  resolution: static
  endpoints: [127.0.0.1]
"""
    server: Authorizer = GrpcAuthorizer(port) if protocol == "grpc" else HttpAuthorizer(port)
    async with server:
        yield server, document, f"  protocol: {protocol}\n  service: {{name: authz, port: 80}}\n"


async def ask(
    traffic: Traffic, wish: str = "ok", path: str = "/", method: str = "GET", **more: str
) -> Answer:
    headers = {"x-authz": wish, **{name.replace("_", "-"): value for name, value in more.items()}}
    return await traffic.get(f"http://api.mesh{path}", headers=headers, method=method)


async def test_by_grpc(traffic: Traffic) -> None:
    await drained(traffic)  # of what other files changed
    async with served(traffic, "grpc") as (server, document, to):
        assert isinstance(server, GrpcAuthorizer)
        async with traffic.apply(
            document + policy(f"{to}  timeout: 500ms\n  add: [{{name: x-stage, value: test}}]\n")
        ):
            passed = await ask(traffic, x_user="forged", path="/a?b=c")
            assert (passed.status, passed.seen["x-user"]) == (200, "ann")
            assert passed.headers["x-to-client"] == "c"
            about = server.asked[-1].attributes
            assert about.source.principal == traffic.member("web").identity
            assert about.destination.principal == traffic.member("api-1").identity
            assert (about.request.http.method, about.request.http.path) == ("GET", "/a?b=c")
            assert server.metadata[-1]["x-stage"] == "test"
            refused = await ask(traffic, "deny")
            assert (refused.status, refused.text, refused.headers["x-why"]) == (402, "pay first", "because")
            for wish in ("500", "hang", "garbage"):
                answer = await ask(traffic, wish)
                assert (answer.status, answer.seconds < 2) == (503, True), (wish, answer)
                assert "authz" not in f"{answer.text}{answer.headers}"
            large = await ask(traffic, "huge")
            assert (large.status, len(large.body) <= 64 * 1024) == (403, True), (
                large.status,
                len(large.body),
            )
            odd = await ask(traffic, "odd", path="/mine")
            assert odd.status in {200, 500}, odd
            assert not [each for each in traffic.seen("api") if each.path == "/admin"]
            assert {each.caller for each in traffic.seen("api")} == {traffic.member("web").identity}


async def test_by_http(traffic: Traffic) -> None:
    async with served(traffic, "http") as (server, document, to):
        assert isinstance(server, HttpAuthorizer)
        spec = (
            f"{to}  timeout: 500ms\n  path: /check/\n  headers: [x-authz, cookie]\n  upstreamHeaders: [x-user]\n"
            "  clientHeaders: [location]\n  clientHeadersOnSuccess: [x-to-client]\n  failureStatus: 500\n"
        )
        async with traffic.apply(document + policy(spec)):
            passed = await ask(
                traffic, path="/a?b=c", x_user="forged", x_secret="mine", cookie="k=v", x_other="o"
            )
            assert (passed.status, passed.seen["x-user"], passed.seen["x-secret"]) == (200, "ann", "mine")
            assert passed.headers["x-to-client"] == "c"
            request, body = server.asked[-1]
            assert (request.method, request.path_qs, request.host, body) == (
                "GET",
                "/check/a?b=c",
                "api.mesh",
                b"",
            )
            assert request.headers["cookie"] == "k=v"
            assert "x-other" not in request.headers
            assert f"URI={traffic.member('web').identity}" in request.headers["x-forwarded-client-cert"]
            refused = await ask(traffic, "deny")
            assert (refused.status, refused.text) == (302, "go and log in")
            assert (refused.headers["location"], "x-why" in refused.headers) == (
                "https://login.example",
                False,
            )
            assert (await ask(traffic, "201")).status == 201, "anything but 200 is an answer to the client"
            assert {each.status for each in traffic.seen("api")} == {200}
            for wish in ("500", "hang", "garbage"):
                answer = await ask(traffic, wish)
                assert (answer.status, answer.seconds < 2) == (500, True), (wish, answer)
            large = await ask(traffic, "huge")
            assert (large.status, len(large.body) <= 64 * 1024) == (403, True), (
                large.status,
                len(large.body),
            )
            odd = await ask(traffic, "odd", path="/mine")
            assert (odd.status, odd.seen["host"]) == (200, "api.mesh")
            assert {each.caller for each in traffic.seen("api")} == {traffic.member("web").identity}
            assert len(traffic.seen("api")) == 2


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_which_requests_are_asked_about(traffic: Traffic, protocol: str) -> None:
    async with served(traffic, protocol) as (server, document, to):
        spec = (
            f"{to}  requests: [{{paths: [{{prefix: /a}}, {{exact: /b}}], methods: [GET, POST]}}, {{hosts: [api.default.mesh]}}]\n"
            "  except: [{paths: [{exact: /a/health}]}]\n  headers: [x-authz]\n"
        )
        async with traffic.apply(document + policy(spec)):
            for path, method, asked in (
                ("/a", "GET", True),
                ("/a/x?y", "POST", True),
                ("/ab", "GET", False),
                ("/a", "PUT", False),
                ("/b?x", "GET", True),
                ("/b/c", "GET", False),
                ("/a/health", "GET", False),
                ("/x/../a/x", "GET", True),
                ("/a/%2e%2e/c", "GET", False),
                ("/x/..%2fa", "GET", True),
                ("/a/health%2F..", "GET", True),
            ):
                answer = await ask(traffic, "deny", path, method)
                assert (answer.status != 200) is asked, (path, method, answer)
            other = await traffic.get("http://api.default.mesh/c", headers={"x-authz": "deny"})
            assert other.status != 200
            assert len(server.asked) == 7


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_bodies(traffic: Traffic, protocol: str) -> None:
    async with (
        served(traffic, protocol) as (server, document, to),
        traffic.apply(document + policy(f"{to}  body: {{maxBytes: 100000}}\n")) as file,
    ):

        async def post(size: int) -> tuple[int, int]:
            """The status, and how much the application got."""
            before = len(traffic.seen("api"))
            answer = await traffic.get("http://api.mesh/", method="POST", body=b"b" * size)
            got = traffic.seen("api")[before:]
            return answer.status, sum(each.size for each in got)

        def told() -> int:
            if isinstance(server, HttpAuthorizer):
                return len(server.asked[-1][1])
            return len(server.asked[-1].attributes.request.http.body)

        assert (await post(70_000), told()) == ((200, 70_000), 70_000)
        count = len(server.asked)
        assert await post(100_001) == (413, 0)
        assert len(server.asked) == count
        await file.replace(document + policy(f"{to}  body: {{maxBytes: 1000, larger: cut}}\n"))
        assert (await post(300_000), told()) == ((200, 300_000), 1000)
        await file.replace(document + policy(to))
        assert (await post(300_000), told()) == ((200, 300_000), 0)


async def test_failing_open_and_nobody_to_ask(traffic: Traffic, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    async with served(traffic, "http") as (server, document, to):
        opened = policy(f"{to}  timeout: 100ms\n  failure: allow\n  headers: [x-authz]\n")
        async with traffic.apply(document + opened) as file:
            assert [(await ask(traffic, wish)).status for wish in ("500", "hang", "slow", "deny")] == [
                200,
                200,
                200,
                302,
            ]
            await file.replace(document + policy(f"{to}  timeout: 5s\n  headers: [x-authz]\n"))
            answer = await ask(traffic, "slow")
            assert (answer.status, answer.seconds > SLOW) == (200, True)
            await file.replace(policy(to) + "---\n" + access_log(f"  file: {path}\n"))
            await drained(traffic)
            answer = await ask(traffic, x_request_id="nobody")
            assert answer.status == 503, "the service is not there"
            await file.replace(policy("  failure: allow\n") + "---\n" + access_log(f"  file: {path}\n"))
            assert (await ask(traffic)).status == 503, "none is named"
            both = policy("  enabled: false\n") + policy(to, "{kind: Mesh}", "all")
            await file.replace(document + both)
            assert (await ask(traffic, "deny")).status == 200
            assert (await traffic.get("http://store.mesh/")).status == 200
            asked = len(server.asked)
            assert asked
    line, *_ = await lines(
        path, lambda each: each.get("request_id") == "nobody" and each["side"] == "callee", 1
    )
    assert line["policy"] == "ExternalAuthorization default/authz"
    assert line["reason"] == "the authorization service did not answer, or not in time"


async def test_a_service_of_the_mesh_is_asked_over_mesh_tls(traffic: Traffic) -> None:
    """`store`'s own sidecar uses nothing; it asks `api` for a permission all the same."""
    spec = "  protocol: http\n  service: {name: api, port: 80}\n  headers: [x-behave]\n"
    async with traffic.apply(policy(spec, "{kind: Service, name: store}")):
        assert (await traffic.get("http://store.mesh/a")).status == 200
        (asked,) = traffic.seen("api")
        assert (asked.caller, asked.path) == (traffic.member("store").identity, "/a")
        refused = await traffic.get("http://store.mesh/", headers={"x-behave": "status=403"})
        assert refused.status == 403
        assert len(traffic.seen("store")) == 1


async def test_a_change_loses_no_request_and_holds_at_once(traffic: Traffic) -> None:
    async with served(traffic, "grpc") as (_, document, to), traffic.apply(document + policy(to)) as file:
        await drained(traffic)  # of what tests before this one changed
        async with traffic.load("http://api.mesh/", rate=150) as load:
            for number in range(3):
                await file.replace(document + policy(f"{to}  timeout: {number + 2}s\n"))
        assert load.report.failures == []
        assert (await ask(traffic, "deny")).status == 402
        await file.replace(document)
        assert (await ask(traffic, "deny")).status == 200
