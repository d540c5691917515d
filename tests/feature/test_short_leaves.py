"""Leaves that live for seconds, under load: no request fails, no connection is dropped because of them, no key comes twice."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.mesh import LOOPBACK, Instance, Mesh
from tests.support.trust_mesh import TrustMesh, a_trust_mesh

DESTROYED = ("upstream_cx_destroy_with_active_rq", "upstream_cx_destroy_remote", "upstream_cx_connect_fail")


async def shown(mesh: Mesh, server: Instance, caller: Instance) -> x509.Certificate:
    """The certificate that a sidecar shows now to somebody who has the agent's identity of another."""
    folder = mesh.folder / f"{caller.name}-agent" / "identity" / "current"
    context = ssl.create_default_context(cafile=str(folder / "roots.pem"))
    context.check_hostname = False
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(
            LOOPBACK,
            server.sidecar_port,
            ssl=context,
            server_hostname=f"80.{server.service}.default.mesh.local",
        )
    made: ssl.SSLObject = writer.get_extra_info("ssl_object")
    der = made.getpeercert(binary_form=True)
    writer.close()
    assert der is not None
    return x509.load_der_x509_certificate(der)


async def stats(mesh: TrustMesh) -> dict[str, int]:
    """Of the connections from callers to the store, all callers together."""
    total = dict.fromkeys((*DESTROYED, "upstream_cx_total"), 0)
    for each in mesh.callers:
        text = await mesh.mesh.envoy(each, "/stats?filter=cluster.*store.*upstream_cx")
        for line in str(text).splitlines():
            name, _, value = line.partition(": ")
            kind = name.rpartition(".")[2]
            if kind in total and "store" in name:
                total[kind] += int(value)
    return total


async def lived_through(mesh: TrustMesh, seconds: float) -> str:
    """Under load for so long; what came of it, in words."""
    keys: dict[int, set[bytes]] = {}
    store = mesh.stores[0]
    before, ends = await stats(mesh), time.monotonic() + seconds
    while time.monotonic() < ends:
        leaf = await shown(mesh.mesh, store, mesh.callers[0])
        key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        keys.setdefault(leaf.serial_number, set()).add(key)
        await mesh.more(5)
    after = await stats(mesh)
    assert before["upstream_cx_total"] > 0
    assert {kind: after[kind] - before[kind] for kind in DESTROYED} == dict.fromkeys(DESTROYED, 0)
    assert all(len(each) == 1 for each in keys.values())
    assert len({next(iter(each)) for each in keys.values()}) == len(keys)
    assert len(keys) >= 3
    requests, said = mesh.check(), mesh.crowd.said
    assert said["repeated"] == 0
    return (
        f"{requests} requests, none failed; one sidecar showed {len(keys)} keys, the crowd had {said['leaves']} leaves, none with "
        f"the key of another; of {after['upstream_cx_total']} connections none was dropped"
    )


@pytest.mark.timeout(180)  # some 35 s on an idle machine
async def test_leaves_of_ten_seconds(tmp_path: Path) -> None:
    async with a_trust_mesh(tmp_path, pairs=1, crowd=5, certificate_lifetime="10s") as mesh:
        await lived_through(mesh, 25)


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_leaves_of_a_minute_for_five(tmp_path: Path) -> None:
    async with a_trust_mesh(tmp_path, pairs=2, crowd=20, certificate_lifetime="60s") as mesh:
        print(await lived_through(mesh, 300))
