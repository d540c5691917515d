"""A mesh moves to another trust domain under load: no request fails, nobody is shut out, and nobody foreign is let in by the old name."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.shapes.ca import CaStatus
from documents.parsing import parse
from envoy.bootstrap import DRAIN_TIME
from mesh.events import SourceSnapshot
from mesh.identity import TrustDomains
from mesh.names import Key, sni
from mesh.state import MeshState
from meshwright.client import get_ca, rotate_ca
from policies.access_verdict import Caller, Request, verdict
from policies.registry import KINDS
from tests.feature.test_mutual_tls import raw_request, refused
from tests.support.foreign import Foreign, foreign_ca, signed_by
from tests.support.mesh import Instance, Load, Mesh, a_document
from tests.support.processes import eventually

OLD, NEW = "old.example", "new.example"
WEB = "ns/default/sa/web"
OLD_WEB, NEW_WEB = f"spiffe://{OLD}/{WEB}", f"spiffe://{NEW}/{WEB}"
STORE = Key("default", "store")


def a_policy(name: str, caller: dict[str, str]) -> dict[str, object]:
    """Of the one workload, which lets in this caller alone."""
    target = {"group": "meshwright.dev", "kind": "Workload", "name": name}
    return a_document(
        "AccessPolicy", name, {"targetRefs": [target], "action": "allow", "rules": [{"from": [caller]}]}
    )


class Moving:
    """`web`, with keys of the control plane, calls `store-1`, with those of its agent, and `store-2`; `other` may call neither."""

    def __init__(self, mesh: Mesh, web: Instance, other: Instance, stores: tuple[Instance, Instance]) -> None:
        self.mesh = mesh
        self.web = web
        self.other = other
        self.stores = stores

    def write_policies(self, trust_domain: str) -> None:
        """One that names no trust domain, and one that says it in full."""
        full = {"identity": f"spiffe://{trust_domain}/{WEB}"}
        self.mesh.write("policies.yaml", a_policy("store-1", {"service": "web"}), a_policy("store-2", full))

    async def set(self, trust_domain: str, alias: str | None = None) -> None:
        """The control plane ends, and starts with these."""
        assert self.mesh.server is not None
        await self.mesh.server.stop()
        self.mesh.set(trust_domain=trust_domain, trust_domain_alias=alias)
        await self.mesh.serve()

    async def status(self) -> CaStatus:
        return await get_ca(self.mesh.data)

    async def heard(self) -> CaStatus:
        async def told() -> CaStatus | None:
            found = await self.status()
            if found.move is not None and not found.move.heard:
                raise AssertionError([(each.workload, each.lacks) for each in found.move.waits_for])
            return found

        return await eventually(told, "every proxy has heard of the trust domains")

    async def rotated(self) -> CaStatus:
        await rotate_ca(self.mesh.data, what="root", by_hand=False)

        async def stable() -> CaStatus | None:
            found = await self.status()
            if found.stage != "stable":
                raise AssertionError([(each.workload, each.holder, each.lacks) for each in found.lagging])
            return found

        return await eventually(stable, "the root is rotated", patience=60.0)

    async def refused_start(self, trust_domain: str, alias: str | None, because: str) -> None:
        """A control plane with these settings does not start; then one with those of before does."""
        assert self.mesh.server is not None
        await self.mesh.server.stop()
        before = self.mesh.set(trust_domain=trust_domain, trust_domain_alias=alias)
        process = await self.mesh.serve(ready=False)
        assert await process.process.wait() == 1
        assert because in process.tail()
        self.mesh.set(**before)
        await self.mesh.serve()

    async def as_policies_say(self, domains: TrustDomains) -> None:
        """What Envoys answer is what the evaluator says, of each caller by each of the names that it may have."""
        parsed = [parse(path.name, path.read_bytes(), KINDS) for path in self.mesh.documents.glob("*.yaml")]
        event = SourceSnapshot(
            "files",
            tuple(service for each in parsed for service in each.services()),
            tuple(workload for each in parsed for workload in each.workloads()),
            tuple(value for each in parsed for value in each.declared()),
        )
        state = MeshState(domains.own, aliases=domains.aliases).apply(event)[0]
        port = state.services[STORE].ports[0]
        for account, trust_domain in itertools.product(("web", "other"), domains.all):
            uri = f"spiffe://{trust_domain}/ns/default/sa/{account}"
            shown = signed_by(self.mesh.folder, self.mesh.data, uri, name="shown")
            for store in self.stores:
                workload = Key("default", store.name)
                said = verdict(state, STORE, port, Caller(uri), Request(), workload)
                answer = await raw_request(store.sidecar_port, shown, sni(STORE, 80, trust_domain))
                assert (b"200 OK" in answer, b"403" in answer) == (said.allowed, not said.allowed), uri
                assert said.allowed == (account == "web"), uri

    async def nobody(self, held: Foreign, trust_domain: str) -> bool:
        """Whether no store lets in whoever holds this."""
        name = sni(STORE, 80, trust_domain)
        return all([await refused(each.sidecar_port, held, name) for each in self.stores])

    async def drained(self) -> None:
        """Return when no connection with the filters of before is left."""

        async def none_is_left() -> bool:
            texts = [
                await self.mesh.envoy(each, "/stats?filter=filter_chains_draining") for each in self.stores
            ]
            return all(text.strip().endswith(": 0") for text in texts)

        await eventually(none_is_left, "no filter chain is draining", patience=DRAIN_TIME + 45.0)


@pytest.fixture
async def moving(tmp_path: Path) -> AsyncIterator[Moving]:
    mesh = Mesh(tmp_path, trust_domain=OLD, trust_domain_alias=NEW)
    web = Instance("web", "web-1", uses=("store",), keys="control-plane")
    other = Instance("other", "other-1", uses=("store",))
    stores = Instance("store", "store-1"), Instance("store", "store-2", keys="control-plane")
    async with mesh:
        mesh.write_service("web", web)
        mesh.write_service("other", other)
        mesh.write_service("store", *stores)
        made = Moving(mesh, web, other, stores)
        made.write_policies(OLD)
        await mesh.serve()
        for each in (web, other, *stores):
            await mesh.app(each)
            # As operators have it: who drains for a second only closes connections that are in use.
            await mesh.sidecar(each, "--trust-domain", OLD, "--drain-time", f"{DRAIN_TIME}s", ready=False)
        for each in (web, other, *stores):
            await mesh.sidecar_ready(each)
        await eventually(lambda: passes(made), "requests pass, as policies say")
        yield made


async def passes(moving: Moving) -> bool:
    mesh = moving.mesh
    return all([(await mesh.call(moving.web, "store.mesh"))[0] == 200 for _ in range(4)])


async def test_the_other_name_of_a_workload(moving: Moving) -> None:
    """The middle of the way, in a mesh that was made with both names: certificates come to be of the new one."""
    mesh, (store, _) = moving.mesh, moving.stores
    async with Load(f"http://127.0.0.1:{moving.web.outbound_port}/", "store.mesh") as load:
        await load.more(50)
        assert load.callers == {OLD_WEB}
        await moving.set(NEW, OLD)
        # The control plane made its key, and makes it anew.
        await eventually(lambda: called_by(load, NEW_WEB), "the caller has its new name")
        await moving.as_policies_say(TrustDomains(NEW, (OLD,)))
        pretender = foreign_ca(mesh.folder, "nobody")(OLD_WEB)
        for name in (OLD, NEW):
            assert await refused(store.sidecar_port, pretender, sni(STORE, 80, name))
        await load.more(50)
    assert load.failures == []


@pytest.mark.heavy
@pytest.mark.timeout(900)
async def test_there_and_back(moving: Moving) -> None:
    """All the way, each step to the end of the connections from before it; and home again."""
    async with Load(f"http://127.0.0.1:{moving.web.outbound_port}/", "store.mesh") as load:
        await moving.set(OLD)
        await moving.refused_start(NEW, OLD, "not every proxy accepts identities of new.example yet")
        for old, new in ((OLD, NEW), (NEW, OLD)):
            await moving.set(old, new)
            found = await moving.heard()
            assert found.move is not None
            assert found.move.aliases[0].next
            await moving.drained()

            await moving.set(new, old)
            await moving.as_policies_say(TrustDomains(new, (old,)))
            found = await moving.heard()
            assert found.move is not None
            assert found.move.aliases[0].keeps
            await moving.refused_start(new, None, "set the trust domain back")
            await moving.rotated()
            found = await moving.heard()
            assert found.move is not None
            assert found.move.aliases[0].keeps == ""
            moving.write_policies(new)
            await moving.drained()

            held = signed_by(moving.mesh.folder, moving.mesh.data, f"spiffe://{old}/{WEB}", name="held")
            await moving.set(new)
            await eventually(lambda held=held, new=new: moving.nobody(held, new), "the old name is nobody's")  # type: ignore[misc]
            await moving.as_policies_say(TrustDomains(new))
            await moving.drained()
            await load.more(50)
            assert f"spiffe://{new}/{WEB}" in load.callers
    assert load.failures == []


async def called_by(load: Load, uri: str) -> bool:
    return uri in load.callers
