"""Certificates renew themselves under load, and a key is never shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.mesh import Instance, Load, Mesh
from tests.support.processes import eventually

KEY = re.compile(r"PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}")


async def serial_numbers(mesh: Mesh, each: Instance) -> set[str]:
    """Of the workload certificates that the sidecar uses now."""
    found: dict[str, Any] = await mesh.envoy(each, "/certs")
    return {
        chain["serial_number"]
        for certificate in found["certificates"]
        for chain in certificate["cert_chain"]
        if any(
            name.get("uri", "").endswith(f"/sa/{each.service}") for name in chain.get("subject_alt_names", [])
        )
    }


async def test_rotation_under_load_loses_no_request(tmp_path: Path) -> None:
    async with Mesh(tmp_path, certificate_lifetime="12s") as mesh:
        web = Instance("web", "web-1", uses=("store",), keys="control-plane")
        store = Instance("store", "store-1")  # its agent makes its keys
        mesh.write_service("web", web)
        mesh.write_service("store", store)
        await mesh.serve()
        await mesh.up(web, store)

        async def passes() -> bool:
            return (await mesh.call(web, "store.mesh"))[0] == 200

        await eventually(passes, "a request passes")
        first = {each.name: await serial_numbers(mesh, each) for each in (web, store)}
        assert all(first.values())
        async with Load(f"http://127.0.0.1:{web.outbound_port}/", "store.mesh") as load:
            # Three certificates one after another: the first has ended long before the last comes.
            for _ in range(3):
                before = {each.name: await serial_numbers(mesh, each) for each in (web, store)}

                async def renewed(before: dict[str, set[str]] = before) -> bool:
                    now = [await serial_numbers(mesh, each) for each in (web, store)]
                    return all(now) and all(
                        n.isdisjoint(b) for n, b in zip(now, before.values(), strict=True)
                    )

                await eventually(renewed, "both sidecars have new certificates")
                await load.more(100)
        assert load.failures == []
        assert load.callers == {web.identity}
        assert await mesh.metric('meshwright_certificates_issued_total{purpose="workload"}') >= 3


async def test_a_private_key_is_never_shown(mesh: Mesh, chain: tuple[Instance, Instance, Instance]) -> None:
    dumps = [await mesh.config_dump(each.name) for each in chain]
    status = (await mesh.status()).model_dump_json()
    metrics = await mesh.metrics()
    envoys = [str(await mesh.envoy(each, "/config_dump")) for each in chain]
    logs = [path.read_text(errors="replace") for path in mesh.folder.glob("*.log")]
    assert logs
    for text in (*map(str, dumps), status, metrics, *envoys, *logs):
        assert not KEY.search(text)
    for each, dump in zip(chain, dumps, strict=True):
        secrets = [resource for resource in dump["resources"] if resource["name"] == "identity"]
        assert len(secrets) == (each.keys == "control-plane")
        assert "private_key" not in str(secrets) or "redacted" in str(secrets).lower()
    for path in (*mesh.data.rglob("*"), *mesh.folder.glob("*-agent/**/*")):
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path
