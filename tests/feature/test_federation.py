"""Two meshes of two trust domains, real from end to end: who of the one is let in by the other, and for how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc.aio
import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from ca.authority import TrustBundle
from ca.federation import spiffe_document
from mesh.names import Key, sni
from meshwright.client import get_ca, rotate_ca
from pb.meshwright.join.v1.join_pb2 import RenewRequest
from pb.meshwright.join.v1.join_pb2_grpc import JoinServiceStub
from tests.feature.test_mutual_tls import raw_request, refused
from tests.support.foreign import Foreign, foreign_ca, signed_by
from tests.support.mesh import Instance, Load, Mesh, a_document
from tests.support.ports import free_port
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

A, B = "a.example", "b.example"
STORE = sni(Key("default", "store"), 80, A)
WEB = f"spiffe://{B}/ns/default/sa/web"


@dataclass
class Publisher:
    """The bundle endpoint of B as A reaches it: B's own, unless it is told to be away, or to lie."""

    of: Mesh
    port: int = field(default_factory=free_port)
    says: bytes | None = None
    away: bool = False
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        del request
        if self.away:
            return web.Response(status=503)
        if self.says is not None:
            return web.Response(body=self.says)
        return web.Response(text=await bundle_of(self.of), content_type="application/json")


async def bundle_of(mesh: Mesh) -> str:
    status, text = await mesh.get(f"http://127.0.0.1:{mesh.admin_port}/spiffe-bundle")
    assert status == 200, text
    return text


@dataclass
class Two:
    """A serves `store`, by a sidecar with its agent's keys and one with the control plane's; `web` of B calls it."""

    a: Mesh
    b: Mesh
    agents: Instance
    control_planes: Instance
    web: Instance
    published: Publisher
    folder: Path

    @property
    def stores(self) -> tuple[Instance, Instance]:
        return self.agents, self.control_planes

    def federate(self, mesh: Mesh, *trust_domains: dict[str, Any]) -> None:
        path = mesh.folder / "federation.yaml"
        new = path.with_suffix(".new")
        new.write_text(yaml.safe_dump({"trust_domains": list(trust_domains)}))
        new.rename(path)

    def with_b(self) -> None:
        self.published.away, self.published.says = False, None
        self.federate(self.a, {"name": B, "endpoint": {"url": f"http://127.0.0.1:{self.published.port}/"}})

    async def distrusted(self, because: str) -> None:
        async def told() -> bool:
            said = (await self.a.status()).federated[B]
            return because in said and "what was believed stays" in said

        await eventually(told, f"A does not believe B: {because}")

    async def calls(self, store: str = "store") -> tuple[int, Any]:
        return await self.b.call(self.web, f"{store}.a.example")

    def call_until(self, wanted: int) -> Any:
        async def answered() -> bool:
            return all([(await self.calls(each.name))[0] == wanted for each in self.stores])

        return eventually(answered, f"both stores answer {wanted}")


def a_store(name: str, keys: str) -> Instance:
    return Instance("store", name, keys=keys)


def outside(to: Instance) -> dict[str, Any]:
    """`to`, a sidecar of A, as B knows it."""
    return a_document(
        "ExternalService",
        to.name,
        {
            "hosts": [f"{to.name}.a.example"],
            "ports": [{"name": "http", "port": 80, "targetPort": to.sidecar_port, "protocol": "http"}],
            "resolution": "static",
            "endpoints": ["127.0.0.1"],
            "tls": {"mode": "mesh", "mesh": {"trustDomain": A, "namespace": "default", "service": "store"}},
        },
    )


def configured(folder: Path) -> str:
    folder.mkdir()
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"federation": str(folder / "federation.yaml"), "federation_refresh": 1}))
    (folder / "federation.yaml").write_text("trust_domains: []\n")
    return str(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    tmp_path = tmp_path_factory.mktemp("two")
    a = Mesh(tmp_path / "a", trust_domain=A, config=configured(tmp_path / "a"))
    b = Mesh(tmp_path / "b", trust_domain=B, config=configured(tmp_path / "b"))
    stores = a_store("store-1", "agent"), a_store("store-2", "control-plane")
    caller = Instance("web", "web-1", uses=None)
    async with a, b, Publisher(b) as published:
        a.write_service("store", *stores)
        b.write_service("web", caller)
        b.write("a.yaml", *map(outside, stores))
        await asyncio.gather(a.serve(), b.serve())
        made = Two(a, b, *stores, caller, published, tmp_path)
        made.federate(b, {"name": A, "bundle_file": str(a.data / "roots.pem")})
        await asyncio.gather(
            *(a.app(each) for each in stores),
            *(a.sidecar(each, "--trust-domain", A) for each in stores),
            b.sidecar(caller, "--trust-domain", B),
        )
        yield made


async def test_callers_of_another_mesh(two: Two) -> None:
    stolen = signed_by(two.folder, two.b.data, f"spiffe://{A}/ns/default/sa/web")
    theirs = signed_by(two.folder, two.b.data, WEB, name="theirs", workload=Key("default", "web-1"))
    # Before.
    assert json.loads(await bundle_of(two.a))["keys"][0]["use"] == "x509-svid"
    assert (await two.calls("store-1"))[0] == 503
    for store in two.stores:
        assert await refused(store.sidecar_port, theirs, STORE)

    two.with_b()
    await two.call_until(200)
    status, answer = await two.calls("store-1")
    assert (status, answer["caller"]) == (200, WEB), answer
    for store in two.stores:
        assert b"200 OK" in await raw_request(store.sidecar_port, theirs, STORE)
        assert await refused(store.sidecar_port, stolen, STORE), "a root of B vouched for somebody of A"
        pretender = foreign_ca(two.folder, "nobody")(WEB)
        assert await refused(store.sidecar_port, pretender, STORE), "a root of nobody"
    assert two.a.server is not None
    assert B in (await two.a.status()).federated

    # The control plane's own doors are for its own trust domain.
    assert await renewal(two.a, theirs) is grpc.StatusCode.UNAVAILABLE
    assert await renewal(two.b, theirs) is grpc.StatusCode.INVALID_ARGUMENT

    # Who of them may do what is policy.
    deny = {
        "targetRefs": [{"kind": "Service", "name": "store"}],
        "action": "deny",
        "rules": [{"from": [{"trustDomain": B}]}],
    }
    two.a.write("deny.yaml", a_document("AccessPolicy", "deny", deny))
    await two.call_until(403)
    (two.a.documents / "deny.yaml").unlink()
    await two.call_until(200)

    # After.
    two.federate(two.a)
    await two.call_until(503)
    for store in two.stores:
        assert await refused(store.sidecar_port, theirs, STORE)
    assert (await two.a.status()).federated == {}


@pytest.mark.heavy
async def test_the_other_mesh_rotates_its_root(two: Two) -> None:
    two.with_b()
    await two.call_until(200)
    target = f"http://127.0.0.1:{two.web.outbound_port}/"
    async with Load(target, "store-1.a.example") as one, Load(target, "store-2.a.example") as other:
        before = (await get_ca(two.b.data)).roots
        await rotate_ca(two.b.data, what="root", by_hand=False)

        async def heard() -> bool:
            return (await two.a.status()).federated[B].startswith("2 roots")

        await eventually(heard, "A has heard of B's new root before B signs by it")

        async def rotated() -> bool:
            now = await get_ca(two.b.data)
            return now.stage == "stable" and now.roots != before

        await eventually(rotated, "B has another root", patience=20)
        await one.more(20)
        await other.more(20)
    assert (one.failures, other.failures) == ([], [])


async def test_a_bundle_that_changes(two: Two) -> None:
    two.with_b()
    await two.call_until(200)
    target = f"http://127.0.0.1:{two.web.outbound_port}/"
    async with Load(target, "store-1.a.example") as one, Load(target, "store-2.a.example") as other:
        two.published.away = True
        await two.distrusted("answered 503")
        two.published.away = False
        lies = {
            "no list of at most": b"{}",
            "is not JSON": b"nonsense",
            "is that of another trust domain": a_bundle_of_a(two),
        }
        for distrusted, lie in lies.items():
            two.published.says = lie
            await two.distrusted(distrusted)
        two.published.says = None
        await one.more(20)
        await other.more(20)
    assert (one.failures, other.failures) == ([], [])
    assert one.callers == other.callers == {WEB}

    # A restart with the endpoint away begins with what was kept.
    two.published.away = True
    assert two.a.server is not None
    await two.a.server.stop()
    await two.a.serve()
    await two.call_until(200)


def a_bundle_of_a(two: Two) -> bytes:
    """A bundle of B with a root that says itself that it is A's."""
    return spiffe_document(TrustBundle(A, ((two.a.data / "roots.pem").read_bytes(),)))


async def renewal(mesh: Mesh, files: Foreign) -> grpc.StatusCode:
    """What becomes of an attempt to renew `files` at the control plane of `mesh`, with a request that is none."""
    credentials = grpc.ssl_channel_credentials(
        (mesh.data / "roots.pem").read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{mesh.xds_port}", credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await JoinServiceStub(channel).Renew(RenewRequest(csr=b"none"), timeout=5)
        return refusal.value.code()
