"""Control planes whose authority is kept elsewhere: sidecars join, talk over mutual TLS, and follow a root that is changed there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.corporate import Corporate, pem
from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually
from tests.support.vaults import ROLE, stand_in


def a_mesh(folder: Path, **settings: object) -> Mesh:
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump({"certificate_lifetime": 60, **settings}))
    return Mesh(folder, config=str(config))


async def test_an_intermediate_from_files_and_a_root_that_is_changed_under_load(tmp_path: Path) -> None:
    corporate, other = Corporate(), Corporate("Other")
    folder = tmp_path / "authority"
    folder.mkdir()
    where = corporate.write(folder)
    files = {"chain": str(where.chain), "key": str(where.key), "roots": str(where.roots)}
    web, api = Instance("web", "web-1", uses=("api",)), Instance("api", "api-1")
    async with a_mesh(tmp_path, ca_files=files) as mesh:
        for each in (web, api):
            mesh.write_service(each.service, each)
        await mesh.serve()
        assert (mesh.data / "roots.pem").read_bytes() == pem(corporate.root)
        await mesh.up(web, api)
        await eventually(lambda: answered(mesh, web), "a request passes")
        url = f"http://{web.address}:{web.outbound_port}/"
        async with Load(url, "api.mesh", workers=2) as load:
            await load.more(20)
            where.roots.write_bytes(pem(corporate.root) + pem(other.root))
            await eventually(lambda: trusts(mesh, web, 2), "the sidecars trust both roots", patience=30)
            await eventually(lambda: trusts(mesh, api, 2), "the sidecars trust both roots", patience=30)
            await load.more(20)
        assert load.failures == []
        assert (mesh.data / "roots.pem").read_bytes() == where.roots.read_bytes()
        where.roots.write_text("not a bundle")
        assert mesh.server is not None
        server = mesh.server

        async def told() -> bool:
            return "the authority's roots cannot be read" in server.text()

        await eventually(told, "it is told", server, patience=20)
        assert await answered(mesh, web)


@pytest.mark.parametrize("wrong", [True, False], ids=["a role that is wrong", "a role that is right"])
async def test_vault(tmp_path: Path, wrong: bool) -> None:
    """The stand-in of Vault's HTTP API, see tests/feature/test_vault_authority.py for the real one."""
    web, api = Instance("web", "web-1", uses=("api",)), Instance("api", "api-1")
    async with stand_in(tmp_path) as vault:
        await vault.set_up("mesh.local")
        token = tmp_path / "token"
        token.touch(0o600)
        token.write_text(vault.token)
        options = {"address": vault.url, "role": ROLE, "token_file": str(token)}
        async with a_mesh(tmp_path, vault=options) as mesh:
            for each in (web, api):
                mesh.write_service(each.service, each)
            server = await mesh.serve()
            if wrong:
                await vault.set_up("mesh.local", allowed_uri_sans="spiffe://other/*")
                await mesh.sidecar(web, ready=False)

                async def told() -> bool:
                    return "Vault answered 400 to sign/mesh" in server.text()

                await eventually(told, "the reason is in the log", server)
                await vault.set_up("mesh.local")  # and the agent comes back by itself
                await mesh.sidecar_ready(web)
                return
            await mesh.up(web, api)
            await eventually(lambda: answered(mesh, web), "a request passes")
            assert vault.token not in server.text()


async def answered(mesh: Mesh, caller: Instance) -> bool:
    return (await mesh.call(caller, "api.mesh"))[0] == 200


async def trusts(mesh: Mesh, each: Instance, number: int) -> bool:
    """Whether Envoy verifies its peers by so many roots."""
    certificates = (await mesh.envoy(each, "/certs"))["certificates"]
    return any(len(one.get("ca_cert", ())) >= number for one in certificates)
