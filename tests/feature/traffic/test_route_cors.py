"""HTTPRoute: CORS, as a browser would ask."""

from __future__ import annotations

from tests.support.traffic.client import Answer
from tests.support.traffic.routes import route, to
from tests.support.traffic.world import Traffic

CORS = (
    '{type: CORS, cors: {allowOrigins: ["https://www.foo.com", "https://*.bar.com"], allowCredentials: true, '
    "allowMethods: [GET, PUT], allowHeaders: [x-one, X-Two], exposeHeaders: [x-workload], maxAge: 3600}}"
)


def preflight(origin: str, method: str = "PUT") -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "x-one",
    }


def said(answer: Answer) -> dict[str, str]:
    start = "access-control-"
    found = {name.lower(): value.replace(" ", "") for name, value in answer.headers.items()}
    return {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}


async def test_a_preflight_is_answered_by_the_sidecar(traffic: Traffic) -> None:
    async with traffic.apply(route(f"filters: [{CORS}]\nbackendRefs: [{to('api')}]")):
        for origin in ("https://www.foo.com", "https://a.bar.com", "https://a.b.bar.com"):
            answer = await traffic.get("http://api.mesh/", method="OPTIONS", headers=preflight(origin))
            assert answer.status in {200, 204}
            assert said(answer) | {"expose-headers": "x-workload"} == {
                "allow-origin": origin,
                "allow-credentials": "true",
                "allow-methods": "GET,PUT",
                "allow-headers": "x-one,x-two",
                "max-age": "3600",
                "expose-headers": "x-workload",
            }
        for origin in (
            "https://foo.com",
            "http://www.foo.com",
            "https://bar.com",
            "https://www.foo.com.evil",
        ):
            answer = await traffic.get("http://api.mesh/", method="OPTIONS", headers=preflight(origin))
            assert "allow-origin" not in said(answer), origin
    assert not traffic.seen("api")


async def test_the_answer_itself_is_permitted_to_those_origins(traffic: Traffic) -> None:
    async with traffic.apply(route(f"filters: [{CORS}]\nbackendRefs: [{to('api')}]")):
        answer = await traffic.get("http://api.mesh/", headers={"origin": "https://a.bar.com"})
        assert answer.status == 200
        assert said(answer) == {
            "allow-origin": "https://a.bar.com",
            "allow-credentials": "true",
            "expose-headers": "x-workload",
        }
        answer = await traffic.get("http://api.mesh/", headers={"origin": "https://evil.com"})
        assert (answer.status, said(answer)) == (200, {})
        assert (await traffic.get("http://api.mesh/")).status == 200


async def test_everybody_may(traffic: Traffic) -> None:
    cors = "{type: CORS, cors: {allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*']}}"
    async with traffic.apply(route(f"filters: [{cors}]\nbackendRefs: [{to('api')}]")):
        answer = said(
            await traffic.get("http://api.mesh/", method="OPTIONS", headers=preflight("https://a", "DELETE"))
        )
        assert answer["allow-origin"] in {"*", "https://a"}
        assert answer["allow-methods"] in {"*", "DELETE"}
        assert answer["allow-headers"] in {"*", "x-one"}
        assert "allow-credentials" not in answer


async def test_of_one_rule_that_wants_a_method(traffic: Traffic) -> None:
    """Its preflight has another method, and is this rule's all the same; another rule's are not concerned."""
    document = route(
        f"""
        matches: [{{path: {{type: PathPrefix, value: /put}}, method: PUT, headers: [{{name: x-one, value: a}}]}}]
        filters: [{CORS}]
        backendRefs: [{to("api")}]
        """,
        f"backendRefs: [{to('api')}]",
    )
    asked = preflight("https://www.foo.com")
    async with traffic.apply(document):
        answer = await traffic.get("http://api.mesh/put", method="OPTIONS", headers=asked)
        assert said(answer)["allow-origin"] == "https://www.foo.com"
        answer = await traffic.get("http://api.mesh/else", method="OPTIONS", headers=asked)
        assert (answer.workload != "", said(answer)) == (True, {})
