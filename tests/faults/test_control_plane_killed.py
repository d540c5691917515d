"""The control plane is killed under load: no request fails, and after its restart unchanged resources cost nothing."""

from __future__ import annotations

from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually

TYPES = ("Cluster", "ClusterLoadAssignment", "Listener", "ScopedRouteConfiguration", "RouteConfiguration")
"""All but Secret: a certificate may be issued anew, and most sidecars have theirs of their agents."""


async def test_killed_and_restarted_under_load(
    mesh: Mesh, chain: tuple[Instance, Instance, Instance]
) -> None:
    web, api, _ = chain
    second = Instance("api", "api-2", uses=("store",), calls="store")
    mesh.write_service("api", api, second)
    await mesh.up(second)

    async def both() -> bool:
        answers = [await mesh.call(web, "api.mesh") for _ in range(8)]
        return {status for status, _ in answers} == {200} and {body["instance"] for _, body in answers} == {
            "api-1",
            "api-2",
        }

    await eventually(both, "requests pass to both instances")
    assert mesh.server is not None
    sent = {kind: await bytes_sent(mesh, kind) for kind in TYPES}
    assert all(sent.values()), sent
    async with Load(f"http://127.0.0.1:{web.outbound_port}/", "api.mesh") as load:
        await load.more(50)
        await mesh.server.kill()
        await load.more(100)
        await mesh.serve()

        async def reconnected() -> bool:
            proxies = (await mesh.status()).proxies
            return len(proxies) == 4 and all(
                len(proxy.types) >= len(TYPES) and all(kind.in_sync for kind in proxy.types)
                for proxy in proxies
                if proxy.proxy != "default/store-1"  # it calls nobody, and asks for no endpoints
            )

        await eventually(reconnected, "all proxies are connected and in sync again", mesh.server)
        await load.more(100)
        assert await resources_sent(mesh) == dict.fromkeys(TYPES, 0.0)
        # store calls nobody: it holds no scope, and is told once more, in an empty response, that there is none.
        assert await bytes_sent(mesh, "ScopedRouteConfiguration") <= 100
        for kind in set(TYPES) - {"ScopedRouteConfiguration"}:
            assert await bytes_sent(mesh, kind) == 0, kind
        # A change still gets through: the streams are alive, and only it is sent.
        mesh.write_service("api", api)

        async def followed() -> bool:
            return await mesh.endpoints(web, "default/api:80") == {f"127.0.0.1:{api.sidecar_port}"}

        await eventually(followed, "the removed instance is gone", mesh.server)
        await load.more(100)
    assert load.failures == []
    assert 0 < await bytes_sent(mesh, "ClusterLoadAssignment") < sent["ClusterLoadAssignment"] / 2
    # Each proxy that calls api (web alone does) is told of its endpoints once, and of nothing else.
    assert await resources_sent(mesh) == dict.fromkeys(TYPES, 0.0) | {"ClusterLoadAssignment": 1.0}


async def resources_sent(mesh: Mesh) -> dict[str, float]:
    return {
        kind: await mesh.metric(f'meshwright_xds_push_resources_total{{type="{kind}"}}') for kind in TYPES
    }


async def bytes_sent(mesh: Mesh, kind: str) -> float:
    return await mesh.metric(f'meshwright_xds_push_bytes_total{{type="{kind}"}}')
