"""Joining by a Consul ACL token, against a real Consul with ACLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ca.peer import proved
from ca.proof_consul import ConsulProof, Registered
from mesh.names import Key
from pb.meshwright.join.v1.join_pb2 import JoinRequest
from tests.support.ca_builders import API, API_1, JoinServer, a_csr, a_join_server
from tests.support.consul_agent import ConsulAgent

ROOT = "8a3c2c4e-5d0b-4a55-9d53-0f3f6f1c3c11"


async def a_token(consul: ConsulAgent, *services: str) -> dict[str, Any]:
    body = {"ServiceIdentities": [{"ServiceName": name} for name in services]}
    made: dict[str, Any] = await consul.put("/v1/acl/token", body)
    return made


async def joined(server: JoinServer, token: str, workload: Key = API_1) -> bytes:
    request = JoinRequest(
        consul_token=token, namespace=workload.namespace, workload=workload.name, csr=a_csr().der
    )
    async with server.stub() as stub:
        return (await stub.Join(request, timeout=10)).chain_pem


async def refused(server: JoinServer, token: str, workload: Key = API_1) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await joined(server, token, workload)
    return caught.value.code(), caught.value.details() or ""


async def test_a_service_identity_lets_its_workload_in_and_no_other(tmp_path: Path) -> None:
    registered = {
        API_1: Registered(frozenset({"api"}), "api"),
        Key("default", "web-1"): Registered(frozenset({"web"}), "web"),
        Key("default", "liar-1"): Registered(frozenset({"api"}), "web"),
        Key("prod", "api-1"): Registered(frozenset({"api"}), "api"),
    }
    async with ConsulAgent(token=ROOT) as consul:
        proof = ConsulProof(consul.url, ["default"], registered.get)
        async with a_join_server(tmp_path, proofs={"consul_token": proof}) as server:
            token = await a_token(consul, "api")
            secret = token["SecretID"]
            found = proved(await joined(server, secret))
            assert (found.identity, found.workload) == (API, API_1)
            assert server.events[-1].by == f"Consul token {token['AccessorID']}"
            denied = grpc.StatusCode.PERMISSION_DENIED
            plain = (await a_token(consul))["SecretID"]
            for shown, workload, status, says in (
                (secret, Key("default", "web-1"), denied, "is registered with web"),
                # Who registers an instance writes its meta: the token does not vouch for what that says.
                (secret, Key("default", "liar-1"), denied, "service account 'web'"),
                (secret, Key("prod", "api-1"), denied, "proves nothing in the namespace 'prod'"),
                (plain, API_1, denied, "has no service identity"),
                (ROOT, API_1, denied, "has no service identity"),
                (secret, Key("default", "api-9"), grpc.StatusCode.UNAVAILABLE, "see its log"),
                (token["AccessorID"], API_1, grpc.StatusCode.UNAUTHENTICATED, "unknown to Consul"),
                ("x\r\nhost: evil", API_1, grpc.StatusCode.UNAUTHENTICATED, "not a Consul ACL token"),
                ("", API_1, grpc.StatusCode.UNAUTHENTICATED, "not a Consul ACL token"),
            ):
                code, details = await refused(server, shown, workload)
                assert (code, says in details) == (status, True), details
            await consul.put(f"/v1/acl/token/{token['AccessorID']}", {**token, "ServiceIdentities": None})
            code, _ = await refused(server, secret)
            assert code is denied, "taken away"
            consul.stop()
            code, _ = await refused(server, secret)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert secret not in repr(server.events)
