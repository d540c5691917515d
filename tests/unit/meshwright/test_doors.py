"""Who may open a stream, what it is given, and for how long. With the real authority and real certificates."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from ca.authority import LeafRequest
from ca.builtin import BuiltinAuthority
from ca.csr import make_csr
from ca.issuer import SecretIssuer
from ca.keys import new_key
from ca.times import system_clock
from envoy.render import Renderer
from mesh.events import SourceUpdate
from mesh.identity import Identity
from mesh.names import Key
from meshwright.doors import CERTIFICATE, Doors
from meshwright.keeper import SecretKeeper
from meshwright.metrics import Metrics
from meshwright.pipeline import Pace, Pipeline
from meshwright.publisher import Publisher
from meshwright.scopes import Proxyless, Secrets, Undiscovered
from pb.envoy.config.core.v3.base_pb2 import Node
from tests.support.builders import TRUST_DOMAIN, a_service, a_snapshot, a_state, a_workload
from xds.cache import ResourceCache
from xds.client import Peer
from xds.server import Refused
from xds.types import SECRET

WEB = Key("default", "web-1")


class House:
    """Doors, with all that they need."""

    def __init__(self, folder: Path, *aliases: str) -> None:
        self.authority = BuiltinAuthority.open(folder, TRUST_DOMAIN, system_clock, aliases=aliases)
        self.cache = ResourceCache()
        state = replace(a_state(), aliases=aliases)
        self.pipeline = Pipeline(
            state,
            Publisher(state, Renderer()),
            self.cache,
            pace=Pace(0, 0),
            clock=asyncio.get_running_loop().time,
        )
        self.metrics = Metrics(CollectorRegistry())
        issuer = SecretIssuer(self.authority, system_clock, lambda: 0.5)
        self.doors = Doors(TRUST_DOMAIN, self.pipeline, SecretKeeper(issuer, self.cache, self.metrics))

    async def peer(
        self, account: str = "web", workload: Key | None = WEB, lifetime: timedelta = timedelta(hours=1)
    ) -> Peer:
        identity = Identity(TRUST_DOMAIN, "default", account)
        issued = await self.authority.issue(LeafRequest(identity, make_csr(new_key()), workload, lifetime))
        return Peer(
            "ipv4:127.0.0.1:1",
            {
                CERTIFICATE: (
                    issued.chain_pem.split(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n",
                )
            },
        )

    async def declare(self, *values: object) -> None:
        self.pipeline.receive(a_snapshot(*values))  # type: ignore[arg-type]
        task = asyncio.create_task(self.pipeline.run())
        await self.pipeline.settled()
        task.cancel()


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def refusal(house: House, node: str, peer: Peer) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(Refused) as caught:
        await house.doors.identify(Node(id=node), peer)
    return caught.value.status, caught.value.reason


async def test_a_proved_workload_gets_its_own_keys(house: House) -> None:
    await house.declare(a_service("web"), a_workload("web-1"))
    client = await house.doors.identify(Node(id="default/web-1"), await house.peer())
    assert client.id == "default/web-1"
    assert Secrets(WEB) in client.scopes
    assert {each.name for each in house.cache.contents(Secrets(WEB)) if each.type_url == SECRET} == {
        "identity",
        "roots",
    }


async def test_who_has_keys_of_its_agent_is_given_none_until_it_says_otherwise(house: House) -> None:
    await house.declare(a_service("web"), a_workload("web-1"))
    node = Node(id="default/web-1")
    node.metadata["meshwright.keys"] = "agent"
    house.cache.open()
    client = await house.doors.identify(node, await house.peer())
    assert Secrets(WEB) in client.scopes
    assert house.cache.ready(client.scopes), "its stream is not kept waiting for keys"
    assert not list(house.cache.contents(Secrets(WEB)))
    node.metadata["meshwright.keys"] = "control-plane"
    await house.doors.identify(node, await house.peer())
    assert [each.name for each in house.cache.contents(Secrets(WEB)) if each.name == "identity"]


async def test_plaintext_gets_none(house: House) -> None:
    await house.declare(a_service("web"), a_workload("web-1"))
    client = await house.doors.identify(Node(id="default/web-1"), Peer("ipv4:127.0.0.1:1"))
    assert client.id == "default/web-1 (plaintext)"
    assert not any(isinstance(scope, Secrets) for scope in client.scopes)
    assert not list(house.cache.contents(Secrets(WEB)))


async def test_a_grpc_client_gets_the_form_that_it_understands(house: House) -> None:
    await house.declare(a_service("web"), a_workload("web-1"))
    client = await house.doors.identify(
        Node(id="default/web-1", user_agent_name="gRPC Python"), Peer("ipv4:127.0.0.1:1")
    )
    assert [type(scope) for scope in client.scopes] == [Proxyless]


async def test_who_is_not_discovered_yet_waits(house: House) -> None:
    client = await house.doors.identify(Node(id="default/web-1"), await house.peer())
    assert client.scopes == (Undiscovered(WEB),)


async def test_who_is_refused_and_what_it_is_told(house: House) -> None:
    await house.declare(a_service("web"), a_workload("web-1"), a_workload("web-2", services=["web"]))
    status, reason = await refusal(house, "web-1", await house.peer())
    assert (status, "node.id is not <namespace>/<workload>" in reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        True,
    )
    status, reason = await refusal(house, "default/web-2", await house.peer())
    assert (status, "join as default/web-2" in reason) == (grpc.StatusCode.PERMISSION_DENIED, True)
    status, reason = await refusal(house, "default/web-1", await house.peer(account="admin"))
    assert (status, "join again" in reason) == (grpc.StatusCode.PERMISSION_DENIED, True)
    status, _ = await refusal(house, "default/web-1", await house.peer(workload=None))
    assert status is grpc.StatusCode.UNAUTHENTICATED


async def test_each_stream_is_judged_by_its_own_proof(house: House) -> None:
    """A stolen certificate does not live on because the true proxy has a newer one."""
    await house.declare(a_service("web"), a_workload("web-1"))
    old = await house.doors.identify(
        Node(id="default/web-1"), await house.peer(lifetime=timedelta(minutes=1))
    )
    new = await house.doors.identify(Node(id="default/web-1"), await house.peer(lifetime=timedelta(hours=2)))
    later = datetime.now(UTC) + timedelta(minutes=30)
    assert "has ended" in str(house.doors.stale(old.proof, later))
    assert house.doors.stale(new.proof, later) is None
    house.pipeline.receive(SourceUpdate("test", workloads=(a_workload("web-1", service_account="other"),)))
    assert "join again" in str(house.doors.stale(new.proof, later))


async def test_by_its_former_name_a_workload_is_the_same(tmp_path: Path) -> None:
    former = "former.example"
    old = House(tmp_path)
    old.authority = BuiltinAuthority.open(tmp_path / "former", former, system_clock)
    identity = Identity(former, "default", "web")
    issued = await old.authority.issue(LeafRequest(identity, make_csr(new_key()), WEB, timedelta(hours=1)))
    leaf = issued.chain_pem.split(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"
    peer = Peer("ipv4:127.0.0.1:1", {CERTIFICATE: (leaf,)})
    house = House(tmp_path / "former", former)
    await house.declare(a_service("web"), a_workload("web-1"))
    client = await house.doors.identify(Node(id=str(WEB)), peer)
    assert Secrets(WEB) in client.scopes
    assert house.doors.stale(client.proof, datetime.now(UTC)) is None
    await old.declare(a_service("web"), a_workload("web-1"))
    with pytest.raises(Refused, match="is no workload of"):
        await old.doors.identify(Node(id=str(WEB)), peer)
