"""The xDS server on a real port, and raw gRPC clients: every service, both protocols, CSDS, and who is sent away."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.core.v3.base_pb2 import Node
from pb.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from pb.envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.config.route.v3.route_pb2 import RouteConfiguration
from pb.envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from pb.envoy.service.runtime.v3.rtds_pb2 import Runtime
from tests.support.processes import eventually
from tests.support.xds_streams import SILENCE, Stream, resource, served
from xds.cache import ScopeChange
from xds.resource import Resource
from xds.server import XdsSettings
from xds.session import Limits
from xds.stream import PAUSE, REFUSALS
from xds.types import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    WILDCARD_BY_DEFAULT,
)

PROTOCOLS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


def a_cluster(name: str, seconds: int = 5) -> Resource:
    made = Cluster(name=name)
    made.connect_timeout.seconds = seconds
    return resource(made)


def endpoints(name: str, port: int = 80) -> Resource:
    made = ClusterLoadAssignment(cluster_name=name)
    added = made.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    added.address, added.port_value = "127.0.0.1", port
    return resource(made)


def a_secret(name: str, key: bytes) -> Resource:
    made = Secret(name=name)
    made.tls_certificate.private_key.inline_bytes = key
    return resource(made)


def with_text(message: Callable[..., Message], **field: str) -> Callable[[str, int], Resource]:
    """Resources whose content differs by a text in one of their fields."""
    ((path, _),) = field.items()

    def make(name: str, number: int) -> Resource:
        made = message(name=name)
        *parents, last = path.split("__")
        target = made
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, f"text-{number}")
        return resource(made)

    return make


def a_runtime(name: str, number: int) -> Resource:
    made = Runtime(name=name)
    made.layer["number"] = number
    return resource(made)


MAKERS: dict[str, Callable[[str, int], Resource]] = {
    CLUSTER: lambda name, number: a_cluster(name, 1 + number),
    ENDPOINT: lambda name, number: endpoints(name, 1 + number),
    LISTENER: with_text(Listener, stat_prefix=""),
    SCOPED_ROUTE: with_text(ScopedRouteConfiguration, route_configuration_name=""),
    ROUTE: with_text(RouteConfiguration, vhds__config_source__path_config_source__path=""),
    SECRET: with_text(Secret, generic_secret__secret__inline_string=""),
    RUNTIME: a_runtime,
    EXTENSION_CONFIG: with_text(TypedExtensionConfig, typed_config__type_url=""),
}


@PROTOCOLS
@pytest.mark.parametrize("aggregated", [True, False], ids=["ads", "alone"])
@pytest.mark.parametrize("type_url", MAKERS, ids=lambda url: url.rpartition(".")[2])
async def test_every_service_answers_updates_and_resumes(
    type_url: str,
    aggregated: bool,
    delta: bool,
) -> None:
    make, only_type = MAKERS[type_url], None if aggregated else type_url
    named = () if type_url in WILDCARD_BY_DEFAULT else ("a", "b")
    async with served(make("a", 0), make("b", 0)) as server:
        async with Stream(server.port, delta=delta, only_type=only_type) as stream:
            await stream.ask(type_url, *named)
            first = await stream.read()
            assert first.type_url == type_url
            assert first.bodies == {"a": make("a", 0).body, "b": make("b", 0).body}
            await stream.acknowledge(first, *named)
            server.publish(make("b", 1))
            second = await stream.read()
            assert second.bodies["b"] == make("b", 1).body
            assert second.version != first.version
            # The state of the world repeats everything, but only where what is missing means removed.
            assert second.names == ({"b"} if delta or named else {"a", "b"})
            await stream.acknowledge(second, *named)
            assert await stream.silent()
        before = server.recorder.bytes[type_url]
        held = {"a": make("a", 0).version, "b": make("b", 1).version}
        async with Stream(server.port, delta=delta, only_type=only_type) as stream:
            await stream.ask(
                type_url, *named, held=held if delta else None, version="" if delta else second.version
            )
            assert await stream.silent()
            assert server.recorder.bytes[type_url] == before
            server.publish(make("a", 2))  # and goes on from there
            third = await stream.read()
            assert third.bodies["a"] == make("a", 2).body
            assert "b" not in third.names or third.bodies["b"] == make("b", 1).body


@PROTOCOLS
async def test_a_reconnect_is_told_the_difference_alone(delta: bool) -> None:
    async with served(a_cluster("a"), a_cluster("b"), a_cluster("c")) as server:
        if not delta:
            async with Stream(server.port, delta=False) as stream:
                await stream.ask(CLUSTER, version="something-else")
                assert (await stream.read()).names == {"a", "b", "c"}
            return
        held = {"a": a_cluster("a").version, "b": "old", "gone": "1"}
        async with Stream(server.port, delta=True) as stream:
            await stream.ask(CLUSTER, held=held)
            seen, removed = set[str](), set[str]()
            while removed != {"gone"} or seen != {"b", "c"}:
                answer = await stream.read()
                seen |= answer.names
                removed |= set(answer.removed)
                await stream.acknowledge(answer)
            assert await stream.silent()


async def test_a_name_that_does_not_exist_is_answered_and_then_followed() -> None:
    async with served() as server, Stream(server.port, delta=True) as stream:
        await stream.ask(ENDPOINT, "a")
        answer = await stream.read()
        assert (answer.names, answer.removed) == (set(), ("a",))
        await stream.acknowledge(answer)
        server.publish(endpoints("a"))
        assert (await stream.read()).names == {"a"}


@PROTOCOLS
async def test_a_removed_cluster_is_told(delta: bool) -> None:
    async with (
        served(a_cluster("a"), a_cluster("b")) as server,
        Stream(server.port, delta=delta) as stream,
    ):
        await stream.ask(CLUSTER)
        await stream.acknowledge(await stream.read())
        server.publish(removed=[(CLUSTER, "a")])
        answer = await stream.read()
        assert (answer.names, answer.removed) == ((set(), ("a",)) if delta else ({"b"}, ()))


@PROTOCOLS
async def test_a_large_first_configuration_comes_in_messages_that_any_client_takes(
    delta: bool,
) -> None:
    async with served() as server:
        large = []
        for number in range(60):
            made = Cluster(name=f"c{number}")
            made.alt_stat_name = "x" * 100_000
            large.append(resource(made))
        server.publish(*large)
        async with Stream(server.port, delta=delta) as stream:
            await stream.ask(CLUSTER)
            seen = set[str]()
            while len(seen) < 60:
                answer = await stream.read()
                seen |= answer.names
                if delta:  # the state of the world has to come in one
                    assert answer.size < 2 * 1024 * 1024
                await stream.acknowledge(answer)
            assert await stream.silent()


# Who is sent away, and how


async def test_a_refused_client_is_told_why() -> None:
    async with served() as server, Stream(server.port, delta=True, node="nobody") as stream:
        await stream.ask(CLUSTER)
        assert await stream.status() == (grpc.StatusCode.PERMISSION_DENIED, "nobody is nobody")
        assert server.recorder.refusals == [("nobody", grpc.StatusCode.PERMISSION_DENIED, "nobody is nobody")]


Misbehaviour = Callable[[Stream], Awaitable[None]]
LIMITS = XdsSettings(request_size=64 * 1024, limits=Limits(names=100, name_length=200, types=4))


async def garbage(stream: Stream) -> None:
    await stream.send(b"\xff\xff\xff\xffnot a message")


async def text_that_is_none(stream: Stream) -> None:
    await stream.send(b"\x22\x02\xc3\x28")  # field 4, a string that is no UTF-8


async def another_node(stream: Stream) -> None:
    await stream.ask(ENDPOINT, "a", node="somebody-else")


async def a_foreign_type(stream: Stream) -> None:
    await stream.ask("elsewhere.example/some.Type")


async def too_many_names(stream: Stream) -> None:
    await stream.ask(ENDPOINT, *map(str, range(101)))


async def too_many_names_by_and_by(stream: Stream) -> None:
    await stream.ask(ENDPOINT, *map(str, range(60)))
    answer = await stream.read()
    await stream.ask(
        ENDPOINT, *map(str, range(0 if not stream.delta else 60, 120)), nonce=answer.nonce, version="1"
    )


async def a_long_name(stream: Stream) -> None:
    await stream.ask(ENDPOINT, "n" * 201)


async def too_many_types(stream: Stream) -> None:
    for number in range(4):  # and clusters
        await stream.ask(f"type.googleapis.com/some.Type{number}", "a")


INVALID = (
    (garbage, "no discovery request"),
    (text_that_is_none, "no discovery request"),
    (another_node, "node.id changed from 'raw'"),
    (a_foreign_type, "elsewhere.example"),
    (too_many_names, "more than 100 names"),
    (too_many_names_by_and_by, "more than 100 names"),
    (a_long_name, "more than 200 characters"),
    (too_many_types, "more than 4 types"),
)


@PROTOCOLS
@pytest.mark.parametrize(("misbehave", "why"), INVALID, ids=lambda each: getattr(each, "__name__", ""))
async def test_misbehaviour_ends_its_own_stream_alone(
    misbehave: Misbehaviour,
    why: str,
    delta: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = [endpoints(str(number)) for number in range(60)]
    async with (
        served(a_cluster("a"), *many, settings=LIMITS) as server,
        Stream(server.port, delta=delta, node="good") as good,
        Stream(server.port, delta=delta) as bad,
    ):
        for stream in (good, bad):
            await stream.ask(CLUSTER)
            await stream.acknowledge(await stream.read())
        await misbehave(bad)
        status, details = await bad.status()
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert why in details
        server.publish(a_cluster("b"))
        assert "b" in (await good.read()).names
        assert [client.id for client in server.xds.clients()] == ["good"]
        assert server.recorder.refusals[0][:2] == ("raw", grpc.StatusCode.INVALID_ARGUMENT)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@PROTOCOLS
async def test_garbage_first_is_refused(delta: bool) -> None:
    async with served() as server, Stream(server.port, delta=delta) as stream:
        await garbage(stream)
        assert (await stream.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert server.xds.clients() == []


@PROTOCOLS
async def test_a_node_that_is_too_large_is_refused(delta: bool) -> None:
    node = Node(id="raw")
    node.metadata["x"] = "x" * 300_000
    async with served() as server, Stream(server.port, delta=delta) as stream:
        await stream.send(
            DeltaDiscoveryRequest(node=node, type_url=CLUSTER)
            if delta
            else DiscoveryRequest(node=node, type_url=CLUSTER)
        )
        status, details = await stream.status()
        assert (status, details) == (grpc.StatusCode.INVALID_ARGUMENT, "a node of more than 262144 bytes")


@PROTOCOLS
async def test_another_type_on_a_separate_service_is_refused(delta: bool) -> None:
    async with served() as server, Stream(server.port, delta=delta, only_type=CLUSTER) as stream:
        await stream.ask(LISTENER)
        status, details = await stream.status()
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert "use ADS" in details


@PROTOCOLS
async def test_a_request_larger_than_allowed_is_refused(
    delta: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        served(a_cluster("a"), settings=LIMITS) as server,
        Stream(server.port, delta=delta, node="good") as good,
        Stream(server.port, delta=delta) as bad,
    ):
        for stream in (good, bad):
            await stream.ask(CLUSTER)
            await stream.acknowledge(await stream.read())
        await bad.send(b"x" * 100_000)
        assert (await bad.status())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        server.publish(a_cluster("b"))
        assert "b" in (await good.read()).names

        async def gone() -> bool:
            return [client.id for client in server.xds.clients()] == ["good"]

        await eventually(gone, "the stream is gone")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_that_vanishes_while_it_is_sent_something_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(
        *(resource(Cluster(name=f"c{n}", alt_stat_name="x" * 90_000)) for n in range(50))
    ) as server:
        for _ in range(10):
            async with Stream(server.port, delta=False) as stream:
                await stream.ask(CLUSTER)

        async def gone() -> bool:
            return server.xds.clients() == [] and server.recorder.open == 0

        await eventually(gone, "the streams are gone")
        assert server.xds.first_turns._value == XdsSettings().first_configurations
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_that_takes_nothing_can_be_sent_away(caplog: pytest.LogCaptureFixture) -> None:
    large = (resource(Cluster(name=f"c{n}", alt_stat_name="x" * 90_000)) for n in range(200))
    async with served(*large) as server, Stream(server.port, delta=False, reads=False) as stream:
        await stream.ask(CLUSTER)

        async def writing() -> bool:
            return bool(server.xds.clients() and server.xds.clients()[0].types[0].pending)

        await eventually(writing, "a response is on its way")
        server.xds.disconnect("raw", "go away")

        async def gone() -> bool:
            return server.xds.clients() == []

        await eventually(gone, "the stream is gone", patience=5)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_stream_that_breaks_inside_ends_and_is_not_left_without_updates(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(a_cluster("a")) as server, Stream(server.port, delta=True) as stream:
        await stream.ask(CLUSTER)
        await stream.acknowledge(await stream.read())

        def broken(_: float, **_how: bool) -> None:
            raise ZeroDivisionError("a fault of ours")

        monkeypatch.setattr(server.xds.streams()[0].session, "poll", broken)
        server.publish(a_cluster("b"))
        status, _ = await stream.status()
        assert status is grpc.StatusCode.UNKNOWN
        assert server.xds.clients() == []
    assert "a fault of ours" in caplog.text


@PROTOCOLS
async def test_a_response_that_is_never_answered_does_not_hold_up_the_rest(delta: bool) -> None:
    listener = resource(Listener(name="l"))
    async with (
        served(a_cluster("a"), listener, settings=XdsSettings(ack_timeout=0.5)) as server,
        Stream(server.port, delta=delta) as stream,
    ):
        await stream.ask(CLUSTER)
        assert (await stream.read()).type_url == CLUSTER
        await stream.ask(LISTENER)
        assert await stream.silent()  # clusters first
        assert (await stream.read()).type_url == LISTENER
        (clusters,) = (each for each in server.xds.clients()[0].types if each.type_url == CLUSTER)
        assert clusters.late


async def test_who_refuses_everything_is_answered_at_its_own_expense() -> None:
    many = [endpoints(str(number)) for number in range(300)]
    async with served(*many) as server, Stream(server.port, delta=True) as stream:
        await stream.ask(ENDPOINT, "*")
        began, refused = time.monotonic(), 0
        while time.monotonic() - began < 2:
            answer = await stream.read()
            await stream.ask(ENDPOINT, nonce=answer.nonce, error="no")
            refused += 1
        assert REFUSALS < refused < REFUSALS + 2 / PAUSE + 5  # it would be hundreds


async def test_a_disconnected_client_is_told_why() -> None:
    async with served(a_cluster("a")) as server, Stream(server.port, delta=True) as stream:
        await stream.ask(CLUSTER)
        await stream.read()
        server.xds.disconnect("raw", "go away")
        assert await stream.status() == (grpc.StatusCode.UNAVAILABLE, "go away")


async def test_a_stream_waits_until_its_scopes_are_there() -> None:
    async with served(a_cluster("a"), scopes=("late",)) as server, Stream(server.port, delta=True) as stream:
        await stream.ask(CLUSTER)
        assert await stream.silent(SILENCE)
        assert server.xds.clients()[0].waiting
        server.cache.publish([ScopeChange("late", put=(a_cluster("b"),))])
        assert (await stream.read()).names == {"b"}
