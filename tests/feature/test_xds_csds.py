"""CSDS: what each client was sent and what came of it, asked for over gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from pb.envoy.config.listener.v3.listener_pb2 import Listener
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from pb.envoy.service.status.v3.csds_pb2 import (
    ERROR,
    NOT_SENT,
    STALE,
    SYNCED,
    ClientConfig,
    ClientStatusRequest,
    ClientStatusResponse,
)
from pb.envoy.service.status.v3.csds_pb2_grpc import ClientStatusDiscoveryServiceStub
from tests.support.processes import eventually
from tests.support.xds_streams import Stream, resource, served
from xds.types import CLUSTER, LISTENER, SECRET

KEY = b"-----BEGIN PRIVATE KEY----- do not show"


@contextlib.asynccontextmanager
async def csds(port: int) -> AsyncIterator[ClientStatusDiscoveryServiceStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ClientStatusDiscoveryServiceStub(channel)


def states(config: ClientConfig) -> dict[tuple[str, str], int]:
    return {(each.type_url, each.name): each.config_status for each in config.generic_xds_configs}


async def test_the_state_of_each_resource_at_each_client() -> None:
    cluster, listener = resource(Cluster(name="c")), resource(Listener(name="l"))
    secret = Secret(name="identity")
    secret.tls_certificate.private_key.inline_bytes = KEY
    kept = resource(secret)
    async with (
        served(cluster, listener, kept) as server,
        csds(server.port) as stub,
        Stream(server.port, delta=True, node="default/web-1") as stream,
    ):

        async def fetch(request: ClientStatusRequest = ClientStatusRequest()) -> ClientConfig:  # noqa: B008
            response: ClientStatusResponse = await stub.FetchClientStatus(request)
            assert b"do not show" not in response.SerializeToString()
            (config,) = response.config
            return config

        await stream.ask(SECRET, "identity")
        await stream.ask(CLUSTER)
        await stream.ask(LISTENER)
        answers = {answer.type_url: answer for answer in [await stream.read(), await stream.read()]}
        assert answers.keys() == {SECRET, CLUSTER}  # listeners wait for the clusters

        async def asked_for_all() -> bool:
            return len(states(await fetch())) == 3

        await eventually(asked_for_all, "the server has read all requests")
        config = await fetch()
        assert config.node.id == "default/web-1"
        assert states(config) == {
            (CLUSTER, "c"): STALE,
            (SECRET, "identity"): STALE,
            (LISTENER, "l"): NOT_SENT,
        }
        found = {each.name: each for each in config.generic_xds_configs}
        assert found["c"].version_info == cluster.version
        assert found["c"].xds_config.value == cluster.body
        assert not found["identity"].HasField("xds_config")
        bare = await fetch(ClientStatusRequest(exclude_resource_contents=True))
        assert not any(each.HasField("xds_config") for each in bare.generic_xds_configs)

        await stream.acknowledge(answers[SECRET])
        await stream.acknowledge(answers[CLUSTER])
        refused = await stream.read()
        await stream.ask(LISTENER, nonce=refused.nonce, error="Error adding/updating listener(s) l: no good")

        async def told() -> bool:
            return states(await fetch()) == {
                (CLUSTER, "c"): SYNCED,
                (SECRET, "identity"): SYNCED,
                (LISTENER, "l"): ERROR,
            }

        await eventually(told, "CSDS tells what was acknowledged and what refused")
        (bad,) = [each for each in (await fetch()).generic_xds_configs if each.name == "l"]
        assert "no good" in bad.error_state.details
        assert bad.error_state.version_info == listener.version


async def test_streaming_answers_every_request_and_nodes_can_be_chosen() -> None:
    async with (
        served(resource(Cluster(name="c"))) as server,
        csds(server.port) as stub,
        Stream(server.port, delta=True, node="default/web-1") as web,
        Stream(server.port, delta=False, node="default/api-1") as api,
    ):
        for stream in (web, api):
            await stream.ask(CLUSTER)
            await stream.read()
        call = stub.StreamClientStatus()

        async def nodes(**matcher: str) -> set[str]:
            request = ClientStatusRequest()
            if matcher:
                added = request.node_matchers.add().node_id
                for name, value in matcher.items():
                    setattr(added, name, value)
            await call.write(request)
            answer = await call.read()
            assert isinstance(answer, ClientStatusResponse)
            return {config.node.id for config in answer.config}

        assert await nodes() == {"default/web-1", "default/api-1"}
        assert await nodes(exact="default/web-1") == {"default/web-1"}
        assert await nodes(prefix="default/a") == {"default/api-1"}
        assert await nodes(suffix="-1") == {"default/web-1", "default/api-1"}
        assert await nodes(contains="web") == {"default/web-1"}
        assert await nodes(exact="nobody") == set()
        call.cancel()


async def test_a_choice_that_is_not_understood_is_refused() -> None:
    async with served() as server, csds(server.port) as stub:
        request = ClientStatusRequest()
        request.node_matchers.add().node_id.safe_regex.regex = "(a*)*b"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.FetchClientStatus(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
