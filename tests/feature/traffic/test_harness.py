"""The shared mesh itself: that it does what the tests of this folder rely on."""

from __future__ import annotations

import grpc
import pytest

from tests.support.traffic.applying import RefusedError
from tests.support.traffic.client import shares, statuses
from tests.support.traffic.statistics import bounds, within
from tests.support.traffic.world import Traffic


async def test_a_request_passes_and_tells_who_answered_and_who_asked(traffic: Traffic) -> None:
    answer = await traffic.get("http://api.mesh/some/path?q=1", headers={"x-mine": "yes"})
    assert answer.status == 200, answer
    assert answer.json["workload"] == answer.workload
    assert answer.json["path"] == "/some/path?q=1"
    assert answer.seen["x-mine"] == "yes"
    assert answer.json["caller"] == traffic.member("web").identity
    (seen,) = traffic.seen("api")
    assert (seen.workload, seen.path, seen.caller) == (
        answer.workload,
        "/some/path?q=1",
        answer.json["caller"],
    )


async def test_two_callers_are_told_apart(traffic: Traffic) -> None:
    answer = await traffic.get("http://other.other.mesh/", caller="probe")
    assert answer.json["caller"].endswith("/sa/probe")
    assert answer.json["namespace"] == "other"


async def test_all_workloads_take_their_share(traffic: Traffic) -> None:
    answers = await traffic.many(80, "http://api.mesh/")
    assert statuses(answers) == {200: 80}
    assert set(shares(answers)) == {"api-1", "api-2", "api-3", "api-4"}
    assert set(shares(answers, "version")) == {"v1", "v2"}
    assert sum(len(traffic.servers[name].requests) for name in shares(answers)) == 80


@pytest.mark.parametrize(("behave", "status"), [("status=503", 503), ("delay=200ms", 200), ("reset", 503)])
async def test_servers_behave_as_they_are_asked_to(traffic: Traffic, behave: str, status: int) -> None:
    answer = await traffic.get("http://store.mesh/", headers={"x-behave": behave})
    assert answer.status == status, answer
    assert answer.seconds >= (0.2 if "delay" in behave else 0.0)


async def test_a_second_document_is_in_force_within_its_block_only(traffic: Traffic) -> None:
    api = traffic.member("api-1")
    document = f"""
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: second}}
spec: {{ports: [{{name: http, port: 80, protocol: http}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: second-1}}
spec: {{services: [second], address: 127.0.0.1, ports: [{{name: http, app: {api.app_ports["http"]}}}]}}
"""
    assert (await traffic.get("http://second.mesh/")).status == 404
    async with traffic.apply(document):
        assert (await traffic.get("http://second.mesh/")).workload == "api-1"
    assert (await traffic.get("http://second.mesh/")).status == 404


async def test_what_is_refused_raises_with_the_message(traffic: Traffic) -> None:
    document = """
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: wrong}
spec: {ports: [{name: http, port: 70000, protocol: http}]}
"""
    with pytest.raises(RefusedError, match="70000"):
        async with traffic.apply(document):
            pytest.fail("it was taken")
    assert not (await traffic.mesh.status()).sources[0].errors


async def test_failures_are_counted_over_all_servers_by_request(traffic: Traffic) -> None:
    # So many that they do not all go to one server by chance: each worker of the sidecar has a turn of its own.
    headers = {"x-behave": "fail-first=20", "x-request-id": "one"}
    answers = [await traffic.get("http://api.mesh/", headers=headers) for _ in range(21)]
    assert [each.status for each in answers] == [503] * 20 + [200]
    assert len({each.workload for each in answers}) > 1, "other servers were asked"


async def test_a_server_can_be_told_to_behave(traffic: Traffic) -> None:
    traffic.servers["api-2"].behave("status=500", path="/sick")
    answers = await traffic.many(40, "http://api.mesh/sick")
    assert {each.status for each in answers if each.workload == "api-2"} == {500}
    assert {each.status for each in answers if each.workload != "api-2"} == {200}
    assert statuses(await traffic.many(20, "http://api.mesh/well")) == {200: 20}


async def test_a_misspelt_behaviour_is_an_error(traffic: Traffic) -> None:
    answer = await traffic.get("http://api.mesh/", headers={"x-behave": "dealy=1s"})
    assert (answer.status, "dealy" in answer.text) == (500, True)


async def test_an_answer_may_break_in_its_middle_or_be_slow(traffic: Traffic) -> None:
    broken = await traffic.get("http://api.mesh/", headers={"x-behave": "reset-body;body=10000"})
    assert (broken.status, bool(broken.error)) == (0, True)
    slow = await traffic.get("http://api.mesh/", headers={"x-behave": "slow-body=300ms"})
    assert slow.status == 200
    assert slow.head_seconds < 0.2 < slow.seconds


async def test_an_application_calls_the_next_service(traffic: Traffic) -> None:
    answer = await traffic.get(
        "http://api.mesh/", headers={"x-behave": "call=store/items", "x-request-id": "r"}
    )
    called = answer.json["called"]
    assert (called["service"], called["path"]) == ("store", "/items")
    assert called["caller"] == traffic.member("api").identity
    assert called["headers"]["x-request-id"] == "r"


async def test_grpc_passes_and_behaves(traffic: Traffic) -> None:
    answer = await traffic.grpc("grpc.mesh", "/shop.Cart/Add", b"{}")
    assert answer.ok, answer
    assert (answer.json["method"], answer.json["caller"]) == (
        "/shop.Cart/Add",
        traffic.member("web").identity,
    )
    refused = await traffic.grpc("grpc.mesh", metadata={"x-behave": "status=8"})
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    streamed = await traffic.grpc("grpc.mesh", "/shop.Cart/ListStream")
    assert (streamed.ok, len(streamed.messages)) == (True, 3)
    chat = await traffic.grpc("grpc.mesh", "/shop.Cart/Chat", b"a", b"b")
    assert chat.messages[1:] == (b"a", b"b")
    assert [each.status for each in traffic.seen("grpc")] == [0, 8, 0, 0]
    dialled = await traffic.grpc("any", port=traffic.member("dialer").local["grpc/grpc"])
    assert dialled.json["caller"] == traffic.member("dialer").identity


async def test_tcp_passes_whoever_speaks_first(traffic: Traffic) -> None:
    async with traffic.tcp("tcp/echo") as connection:
        workload, _, line = (await connection.ask("ping")).partition(" ")
        assert (workload[:4], line) == ("tcp-", "ping")
    async with traffic.tcp("tcp/greet") as connection:
        assert (await connection.read()).startswith("hello from tcp-")
    assert traffic.servers[workload].requests[0].body == b"ping"


async def test_an_application_speaks_websocket(traffic: Traffic) -> None:
    """To its own port: whether the sidecars let an upgrade pass is for the tests of that feature."""
    port = traffic.member("api-2").app_ports["http"]
    async with traffic.websocket("http://api.mesh/socket", port=port) as stream:
        assert (await stream.receive_json())["workload"] == "api-2"
        await stream.send_str("ping")
        assert await stream.receive_str() == "ping"


async def test_an_application_or_a_sidecar_may_be_away(traffic: Traffic) -> None:
    async with traffic.without_app("other"):
        assert (await traffic.get("http://other.other.mesh/")).status == 503
    assert (await traffic.get("http://other.other.mesh/")).status == 200
    async with traffic.without_sidecar("other"):
        assert (await traffic.get("http://other.other.mesh/")).status == 503
    assert (await traffic.get("http://other.other.mesh/")).status == 200


async def test_a_test_may_add_a_server_and_a_proxy(traffic: Traffic) -> None:
    async with traffic.outside() as server:
        sidecar = traffic.port()
        document = f"""
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {{name: guest}}
spec: {{ports: [{{name: http, port: 80, protocol: http}}]}}
---
apiVersion: meshwright.dev/v1alpha1
kind: Workload
metadata: {{name: guest-1}}
spec:
  services: [guest]
  address: 127.0.0.1
  meshed: true
  outboundPort: {traffic.port()}
  ports: [{{name: http, app: {server.member.app_ports["http"]}, sidecar: {sidecar}}}]
"""
        async with traffic.apply(document):
            assert (await traffic.get("http://guest.mesh/")).status == 503
            async with traffic.proxy("guest-1", "guest") as proxy:
                assert (await traffic.get("http://guest.mesh/")).workload == "outside-1"
                assert sum((await proxy.stats(r"^http\.inbound.*\.downstream_rq_2xx$")).values()) == 1
        assert len(server.requests) == server.connections == 1


async def test_load_is_constant_and_tells_of_every_request(traffic: Traffic) -> None:
    async with traffic.load("http://api.mesh/", rate=300, seconds=1) as load:
        report = await load.done()
    assert report.statuses == {200: report.sent}, report
    assert (report.errors, report.failures) == (0, [])
    assert report.sent == pytest.approx(300, abs=2)
    assert sum(len(traffic.servers[f"api-{n}"].requests) for n in range(1, 5)) == report.sent
    assert 0 < report.latency(0.5) < 1


async def test_load_tells_of_failures_and_resets(traffic: Traffic) -> None:
    traffic.servers["store-1"].behave("status=404")
    traffic.servers["store-2"].behave("reset-body;body=10000")
    async with traffic.load("http://store.mesh/", rate=200) as load:
        await load.more(50)
    report = load.report
    assert report.statuses[404] > 0
    assert report.errors > 0
    assert len(report.failures) == report.sent == report.statuses[404] + report.errors


async def test_the_sidecar_tells_what_it_does(traffic: Traffic) -> None:
    await traffic.get("http://api.mesh/")
    stats = await traffic.envoy("web").stats(r"^http\.outbound\.downstream_rq_2xx$")
    assert stats["http.outbound.downstream_rq_2xx"] > 0
    clusters = await traffic.envoy("web").clusters()
    assert len(clusters["default/api:80"]["host_statuses"]) == 4


@pytest.mark.parametrize(
    ("share", "n", "low", "high"), [(0.5, 1000, 423, 577), (0.0, 10, 0, 0), (1.0, 10, 10, 10)]
)
def test_bounds_of_a_share(share: float, n: int, low: int, high: int) -> None:
    assert bounds(share, n) == (low, high)
    assert within(share, n, low)
    assert not within(share, n, high + 1)
