"""Consul goes away, comes back empty, comes back whole; the control plane restarts meanwhile. No request fails."""

from __future__ import annotations

from pathlib import Path

from tests.support.consul_agent import consul_agent
from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually


async def test_consul_stopped_and_restarted_empty(tmp_path: Path) -> None:
    async with consul_agent(tmp_path) as consul, Mesh(tmp_path, consul_url=consul.url, files=False) as mesh:
        web = Instance("web", "web-1", uses=("api",))
        apis = [Instance("api", f"api-{number}") for number in range(2)]
        for each in (web, *apis):
            await consul.register(each.consul_service())
        await mesh.serve()
        await mesh.up(web, *apis)

        async def passes() -> bool:
            return (await mesh.call(web, "api.mesh"))[0] == 200

        await eventually(passes, "a request passes")
        async with Load(f"http://127.0.0.1:{web.outbound_port}/", "api.mesh") as load:
            consul.stop()

            async def failed() -> bool:
                source = next(each for each in (await mesh.status()).sources if each.source == "consul")
                return source.state == "failed" and bool(source.error)

            await eventually(failed, "status tells that Consul is away")
            assert await mesh.metric('meshwright_source_up{source="consul"}') == 0
            await load.more(100)
            await consul.start()  # a dev agent keeps nothing: it is empty

            async def held() -> bool:
                return {hold.service for hold in (await mesh.status()).holds} >= {"default/api"}

            await eventually(held, "status tells that the removals are held")
            assert await mesh.metric('meshwright_source_held_endpoints{source="consul"}') >= 3
            await load.more(100)
            for each in (web, *apis):
                await consul.register(each.consul_service())

            async def no_holds() -> bool:
                return not (await mesh.status()).holds

            await eventually(no_holds, "the holds end when the instances are back")
            extra = Instance("api", "api-extra")
            await consul.register(extra.consul_service())
            await mesh.up(extra)

            async def flows() -> bool:
                return load.by_instance.get("api-extra", 0) > 0

            await eventually(flows, "changes flow again")
            await consul.deregister("api-extra")

            async def removed() -> bool:
                return f"127.0.0.1:{extra.sidecar_port}" not in await mesh.endpoints(web, "default/api:80")

            await eventually(removed, "an individual removal is honoured")
        assert load.failures == []


async def test_control_plane_restarted_while_consul_is_down(tmp_path: Path) -> None:
    async with consul_agent(tmp_path) as consul, Mesh(tmp_path, consul_url=consul.url, files=False) as mesh:
        web, api = Instance("web", "web-1", uses=("api",)), Instance("api", "api-1")
        late = Instance("web", "web-2", uses=("api",))
        for each in (web, api, late):
            await consul.register(each.consul_service())
        server = await mesh.serve()
        await mesh.up(web, api)

        async def passes() -> bool:
            return (await mesh.call(web, "api.mesh"))[0] == 200

        await eventually(passes, "a request passes")

        async def written() -> bool:
            return any((mesh.data / "last-good").glob("*")) if (mesh.data / "last-good").exists() else False

        await eventually(written, "the last good state is on disk")
        async with Load(f"http://127.0.0.1:{web.outbound_port}/", "api.mesh") as load:
            consul.stop()
            await server.stop()
            await mesh.serve()  # ready: from disk
            await load.more(100)
            assert await mesh.endpoints(web, "default/api:80") == {f"127.0.0.1:{api.sidecar_port}"}
            source = next(each for each in (await mesh.status()).sources if each.source == "consul")
            assert source.state in {"restored", "failed"}
            await mesh.up(late)  # a fresh proxy gets everything

            async def late_passes() -> bool:
                return (await mesh.call(late, "api.mesh"))[0] == 200

            await eventually(late_passes, "a fresh proxy has the full configuration")
        assert load.failures == []
