"""GRPCRoute: calls of a real gRPC client, by service, method and metadata."""

from __future__ import annotations

from collections import Counter

import grpc

from tests.support.processes import eventually
from tests.support.traffic.grpc_side import GrpcAnswer
from tests.support.traffic.routes import route, subset, to
from tests.support.traffic.statistics import within
from tests.support.traffic.world import Traffic

BOTH = subset("v1", "grpc") + subset("v2", "grpc")


def calls(*rules: str, name: str = "g") -> str:
    return route(*rules, kind="GRPCRoute", name=name, parent="name: grpc")


def rule(name: str, *matches: str) -> str:
    header = f"{{set: [{{name: x-rule, value: {name}}}]}}"
    return f"""
    matches: [{", ".join(matches)}]
    filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {header}}}]
    backendRefs: [{to("grpc")}]
    """


def method(said: str, more: str = "") -> str:
    return f"{{method: {{{said}}}{more and f', {more}'}}}"


def taken(answer: GrpcAnswer) -> str:
    return answer.headers.get("x-rule") or answer.code.name


async def test_services_methods_and_metadata(traffic: Traffic) -> None:
    document = calls(
        rule("all of a service", method("service: shop.Cart")),
        rule("one method", method("service: shop.Cart, method: Add")),
        rule(
            "with metadata", method("service: shop.Cart, method: Add", "headers: [{name: Tenant, value: a}]")
        ),
        rule("any service", method("method: Ping")),
        rule("regex", method('type: RegularExpression, service: "shop[.]v[0-9]+[.].*", method: "Get.*"')),
    )
    async with traffic.apply(document):
        for asked, metadata, expected in [
            ("/shop.Cart/Add", {}, "one method"),
            ("/shop.Cart/Add", {"tenant": "a"}, "with metadata"),
            ("/shop.Cart/Add", {"tenant": "b"}, "one method"),
            ("/shop.Cart/Remove", {}, "all of a service"),
            ("/shop.Cart/ListStream", {}, "all of a service"),
            ("/shop.Carts/Add", {}, "UNIMPLEMENTED"),
            ("/other.Thing/Ping", {}, "any service"),
            ("/shop.v2.Orders/GetOne", {}, "regex"),
            ("/shop.v2.Orders/SetOne", {}, "UNIMPLEMENTED"),
        ]:
            answer = await traffic.grpc("grpc.mesh", asked, metadata=metadata)
            assert taken(answer) == expected, (asked, metadata, answer)
        assert taken(await traffic.grpc("grpc.mesh:80", "/shop.Cart/Add")) == "one method"
        by_port = traffic.member("dialer").local["grpc/grpc"]
        assert (
            taken(await traffic.grpc("any", "/shop.Cart/Add", port=by_port, caller="dialer")) == "one method"
        )


async def test_shares_of_subsets(traffic: Traffic) -> None:
    async with traffic.apply(
        BOTH + calls(f"name: split\nbackendRefs: [{to('grpc-v1', 9)}, {to('grpc-v2', 1)}]")
    ):
        found = Counter([(await traffic.grpc("grpc.mesh")).workload for _ in range(200)])
    assert within(0.1, 200, found["grpc-2"]), found
    assert found["grpc-1"] + found["grpc-2"] == 200


async def test_metadata_is_changed_and_calls_are_copied(traffic: Traffic) -> None:
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {group: meshwright.dev, kind: ServiceSubset, name: grpc-v2, port: 80}}}"
    modifier = (
        "{type: RequestHeaderModifier, requestHeaderModifier: "
        "{set: [{name: x-set, value: ours}], add: [{name: x-add, value: ours}], remove: [x-gone]}}"
    )
    document = calls(f"filters: [{modifier}, {mirror}]\nbackendRefs: [{to('grpc-v1')}]")
    async with traffic.apply(BOTH + document):
        answer = await traffic.grpc("grpc.mesh", metadata={"x-set": "mine", "x-gone": "mine"})
        assert (answer.workload, answer.json["headers"]["x-set"]) == ("grpc-1", "ours")
        assert answer.json["headers"]["x-add"] == "ours"
        assert "x-gone" not in answer.json["headers"]

        async def copied() -> bool:
            return len(traffic.servers["grpc-2"].requests) == 1

        await eventually(copied, "the copy of the call")


async def test_a_backend_that_is_not_there_is_unavailable(traffic: Traffic) -> None:
    async with traffic.apply(calls(f"backendRefs: [{to('missing')}]")):
        assert (await traffic.grpc("grpc.mesh")).code is grpc.StatusCode.UNAVAILABLE


async def test_of_two_kinds_at_one_port_grpc_is_followed(traffic: Traffic) -> None:
    http = route(f"backendRefs: [{to('missing')}]", name="h", parent="name: grpc")
    async with traffic.apply(http) as file:
        assert (await traffic.grpc("grpc.mesh")).code is not grpc.StatusCode.OK
        await file.replace(http + calls(f"backendRefs: [{to('grpc')}]"))
        assert (await traffic.grpc("grpc.mesh")).ok


async def test_calls_are_not_for_a_port_that_speaks_http_1(traffic: Traffic) -> None:
    async with traffic.apply(
        route(f"backendRefs: [{to('missing')}]", kind="GRPCRoute", name="g", parent="name: api")
    ):
        assert (await traffic.get("http://api.mesh/")).status == 200
