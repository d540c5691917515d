"""The control plane is killed under load: no request fails, and after its restart unchanged resources cost nothing."""

from __future__ import annotations

from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually

TYPES = ("Cluster", "ClusterLoadAssignment", "Listener", "ScopedRouteConfiguration", "RouteConfiguration")


async def test_killed_and_restarted_under_load(
    mesh: Mesh, chain: tuple[Instance, Instance, Instance]
) -> None:
    web, api, _ = chain

    async def passes() -> bool:
        return (await mesh.call(web, "api.mesh"))[0] == 200

    await eventually(passes, "a request passes")
    assert mesh.server is not None
    sent_at_first = {kind: await bytes_sent(mesh, kind) for kind in TYPES}
    assert all(sent_at_first.values()), sent_at_first
    async with Load(f"http://127.0.0.1:{web.outbound_port}/", "api.mesh") as load:
        await load.more(50)
        await mesh.server.kill()
        await load.more(100)
        await mesh.serve()

        async def connected() -> bool:
            proxies = (await mesh.status()).proxies
            return len(proxies) == 3 and all(kind.in_sync for proxy in proxies for kind in proxy.types)

        await eventually(connected, "all proxies are connected and in sync again", mesh.server)
        # A change still gets through, and shows that the streams are alive.
        mesh.write_service("api", api, second := Instance("api", "api-2", uses=("store",), calls="store"))
        await mesh.up(second)

        async def reached() -> bool:
            return load.by_instance.get("api-2", 0) > 0

        await eventually(reached, "the new instance gets traffic")
    assert load.failures == []
    for kind in ("Listener", "RouteConfiguration", "ScopedRouteConfiguration"):
        # api-2's own sidecar is new and gets its own; the three that were there get nothing.
        first = sent_at_first[kind]
        assert await bytes_sent(mesh, kind) <= first / 2, kind


async def bytes_sent(mesh: Mesh, kind: str) -> float:
    return await mesh.metric(f'meshwright_xds_push_bytes_total{{type="{kind}"}}')
