"""Keys that agents make: traffic while the control plane is away, renewal without a dropped connection, and no key on any wire."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

from ca.builtin import BuiltinAuthority
from ca.times import system_clock
from tests.feature.test_rotation import serial_numbers
from tests.support.mesh import LOOPBACK, Instance, Load, Mesh
from tests.support.processes import eventually
from tests.support.wiretap import Tap, forms, found, memory, server_credentials

LIFE = 16
"""Seconds. A certificate is renewed at about half of it."""
PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END PRIVATE KEY-----\n")
RENEWAL_FAILED = "the certificate could not be renewed yet"


def agent_folder(mesh: Mesh, each: Instance) -> Path:
    return mesh.folder / f"{each.name}-agent"


def made_by_agent(mesh: Mesh, each: Instance) -> frozenset[bytes]:
    """The forms of the keys that the agent holds now."""
    folder = agent_folder(mesh, each)
    return frozenset().union(*(forms(path.read_bytes()) for path in folder.rglob("*key*") if path.is_file()))


async def connections(mesh: Mesh, caller: Instance) -> int:
    """How many connections to `store` have ended."""
    text = str(await mesh.envoy(caller, "/stats?filter=upstream_cx_destroy$"))
    return sum(int(each) for each in re.findall(r"^cluster\.default/store\S+: (\d+)$", text, re.MULTILINE))


async def test_the_control_plane_is_away_and_no_key_is_on_the_wire(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(Mesh(tmp_path, certificate_lifetime=f"{LIFE}s"))
        web = Instance(
            "web", "web-1", uses=("store",), keys="control-plane"
        )  # to know that a key would be found
        store = Instance("store", "store-1")
        for each in (web, store):
            mesh.write_service(each.service, each)
        server = await mesh.serve()
        authority = BuiltinAuthority.open(mesh.data, "mesh.local", system_clock)
        shown = await server_credentials(authority, tmp_path / "tap.pem")
        taps: dict[str, list[Tap]] = {}
        for each in (web, store):
            made = [Tap(port, shown, agent_folder(mesh, each)) for port in (mesh.xds_port, mesh.join_port)]
            taps[each.name] = [await stack.enter_async_context(tap) for tap in made]
            await mesh.app(each)
        await asyncio.gather(
            *(
                mesh.sidecar(each, "--control-plane", xds.address, "--join", join.address)
                for each in (web, store)
                for xds, join in (taps[each.name],)
            )
        )

        async def passes() -> bool:
            return (await mesh.call(web, "store.mesh"))[0] == 200

        await eventually(passes, "a request passes")
        keys = made_by_agent(mesh, store)
        before = await serial_numbers(mesh, store)
        assert store.sidecar is not None
        agent = store.sidecar
        load = await stack.enter_async_context(
            Load(f"http://{LOOPBACK}:{web.outbound_port}/", "store.mesh", workers=2)
        )
        await load.more(20)
        ended = await connections(mesh, web)

        # Away for longer than half of a life: that renewal has failed says so.
        await server.kill()
        await asyncio.gather(*(tap.cut() for pair in taps.values() for tap in pair))

        async def tried() -> bool:
            return RENEWAL_FAILED in agent.text()

        await eventually(tried, "the agent has tried to renew", agent)
        await load.more(20)
        assert await serial_numbers(mesh, store) == before

        server = await mesh.serve()
        await asyncio.gather(*(tap.mend() for pair in taps.values() for tap in pair))

        async def renewed() -> bool:
            now = await serial_numbers(mesh, store)
            return bool(now) and now.isdisjoint(before)

        await eventually(renewed, "the sidecar has a new certificate", agent, server)
        await load.more(20)
        assert load.failures == []
        assert load.callers == {web.identity}
        assert await connections(mesh, web) == ended, "a connection was dropped"
        keys |= made_by_agent(mesh, store)

        # The wire. That the other way's key is found shows that this is where to look.
        assert len(keys) >= 2 * 5
        on_wire = [bytes(tap.seen) for tap in taps["store-1"]]
        assert all(on_wire)
        assert not any(found(keys, each) for each in on_wire)
        made_here = PEM.search(bytes(taps["web-1"][0].seen))
        assert made_here is not None
        other = forms(made_here[0])

        # The control plane: its memory, and all that it has written.
        assert server.pid
        regions = await asyncio.to_thread(lambda: [found(keys, region) for region in memory(server.pid)])
        assert regions
        assert not any(regions)

        async def seen_in_memory() -> bool:
            """The other way's key, whichever is in use now: it may have been renewed since."""
            latest = forms(PEM.findall(bytes(taps["web-1"][0].seen))[-1])
            return await asyncio.to_thread(
                lambda: any(found(latest, region) for region in memory(server.pid))
            )

        await eventually(seen_in_memory, "the key that was made there is found there", patience=LIFE)
        files = [path for path in (*mesh.data.rglob("*"), *mesh.folder.glob("*.log")) if path.is_file()]
        assert not any(found(keys | other, path.read_bytes()) for path in files)

        # Envoy is killed: the next one has the same keys from the agent.
        pids = [int(each) for each in re.findall(r'"pid": (\d+)', agent.text())]
        os.kill(pids[-1], signal.SIGKILL)

        async def another() -> bool:
            return len(set(re.findall(r'"pid": (\d+)', agent.text()))) > len(set(pids)) and await passes()

        await eventually(another, "a request passes by another Envoy", agent)
