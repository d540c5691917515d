"""Server-side apply and client certificates over REST, ten thousand documents by pages, and TLS that follows its certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from ca.builtin import BuiltinAuthority
from ca.times import system_clock
from mesh.identity import Identity
from mesh.names import Key
from tests.support.api import Answered, Api
from tests.support.ca_builders import Credentials
from tests.support.mesh import LOOPBACK, Mesh, a_document, a_service_document
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
V1 = "/api/v1/documents"
APPLY = "application/apply-patch+json"
OPS, OTHER = Identity("mesh.local", "default", "ops"), Identity("mesh.local", "default", "other")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    folder = tmp_path_factory.mktemp("apply")
    (folder / "settings.yaml").write_text(f"api_clients:\n  {OPS.uri}: editor:shop\n")
    async with Mesh(folder, config=str(folder / "settings.yaml")) as mesh:
        mesh.data.mkdir(mode=0o700)
        authority = BuiltinAuthority.open(mesh.data, "mesh.local", system_clock)
        for identity in (OPS, OTHER):
            made = await Credentials.issue(
                authority, identity, Key("default", f"{identity.service_account}-1")
            )
            (folder / f"{identity.service_account}.pem").write_bytes(made.key + made.chain)
        await mesh.serve()
        yield mesh


@pytest.fixture
def api(mesh: Mesh) -> Api:
    return Api(mesh.data)


async def over_tls(
    mesh: Mesh, certificate: str | None, method: str, path: str, body: object = None
) -> Answered:
    tls = ssl.create_default_context(cafile=str(mesh.data / "roots.pem"))
    if certificate is not None:
        tls.load_cert_chain(mesh.folder / f"{certificate}.pem")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
        session.request(method, f"https://{LOOPBACK}:{mesh.api_port}{path}", json=body) as answer,
    ):
        return Answered(answer.status, answer.headers.copy(), await answer.text())


def a_policy(**spec: Any) -> dict[str, Any]:
    return a_document(
        "RetryPolicy", "shared", {"targetRefs": [{"kind": "Service", "name": "applied"}], **spec}
    )


async def test_apply_by_several(api: Api) -> None:
    path = f"{V1}/RetryPolicy/default/shared"
    await api("POST", V1, a_service_document("applied"))
    made = await api(
        "PATCH", f"{path}?fieldManager=ann", a_policy(attempts=3, perTryTimeout="1s"), media=APPLY
    )
    assert made.status == 201, made
    refused = await api("PATCH", f"{path}?fieldManager=bob", a_policy(attempts=5, on=["reset"]), media=APPLY)
    assert refused.status == 409, refused
    assert refused.json["owners"] == [
        {"document": "RetryPolicy default/shared", "path": "spec.attempts", "manager": "ann"}
    ]
    beside = await api("PATCH", f"{path}?fieldManager=bob", a_policy(on=["reset"]), media=APPLY)
    assert beside.json["document"]["spec"]["attempts"] == 3, beside
    forced = await api(
        "PATCH", f"{path}?fieldManager=bob&force=true", a_policy(attempts=5, on=["reset"]), media=APPLY
    )
    assert forced.json["document"]["spec"]["attempts"] == 5, forced
    less = await api("PATCH", f"{path}?fieldManager=ann", a_policy(), media=APPLY)
    assert less.json["document"]["spec"] == {**a_policy(attempts=5, on=["reset"])["spec"]}, less
    again = await api("PATCH", f"{path}?fieldManager=ann", a_policy(), media=APPLY)
    assert again.json["changes"][0]["op"] == "unchanged"
    shown = (await api("GET", f"{path}?managedFields=true")).json["metadata"]["managedFields"]
    assert {(each["manager"], each["operation"]) for each in shown} == {("ann", "Apply"), ("bob", "Apply")}
    assert "managedFields" not in (await api("GET", path)).json["metadata"]
    text = b"spec: {attempts: 5}\n"
    yaml = await api("PATCH", f"{path}?fieldManager=cat", text, media="application/apply-patch+yaml")
    assert yaml.status == 200, yaml
    assert yaml.json["document"]["spec"]["attempts"] == 5, "the same value is no conflict: both own it"
    assert (await api("PATCH", path, a_policy(), media=APPLY)).status == 422, "nobody says who applies"


async def test_client_certificates_are_what_the_settings_say(mesh: Mesh, api: Api) -> None:
    own = {**a_service_document("certified"), "metadata": {"name": "certified", "namespace": "shop"}}
    assert (await over_tls(mesh, "ops", "POST", V1, own)).status == 201
    assert (await over_tls(mesh, "ops", "POST", V1, a_service_document("certified"))).status == 403
    assert (await over_tls(mesh, "other", "GET", V1)).status == 403, (
        "a workload is nobody here, unless it is said"
    )
    assert (await over_tls(mesh, None, "GET", V1)).status == 401
    newest = (await api("GET", "/api/v1/revisions?limit=1")).json["items"][0]
    assert newest["author"] == f"certificate:{OPS.uri}"


async def test_a_foreign_certificate_ends_the_handshake(mesh: Mesh, tmp_path: Path) -> None:
    foreign = BuiltinAuthority.open(tmp_path, "mesh.local", system_clock)
    made = await Credentials.issue(foreign, OPS, Key("default", "ops-1"))
    (mesh.folder / "foreign.pem").write_bytes(made.key + made.chain)
    with pytest.raises(aiohttp.ClientError):
        await over_tls(mesh, "foreign", "GET", V1)


async def test_tls_follows_a_new_root(mesh: Mesh, api: Api) -> None:
    async def serial() -> bytes:
        tls = ssl.create_default_context(cafile=str(mesh.data / "roots.pem"))
        _, writer = await asyncio.open_connection(
            LOOPBACK, mesh.api_port, ssl=tls, server_hostname="localhost"
        )
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return der

    before = await serial()
    assert (await api("POST", "/api/v1/ca/rotate", {"what": "root"})).status == 200

    async def renewed() -> bool:
        return await serial() != before

    await eventually(renewed, "new connections are shown the new certificate")
    assert (await over_tls(mesh, "ops", "GET", f"{V1}?namespace=shop")).status == 200, (
        "the old root is trusted still"
    )


async def test_documents_by_pages(api: Api) -> None:
    await paged(api, 2_000)


@pytest.mark.heavy
async def test_ten_thousand_documents_by_pages(api: Api) -> None:
    await paged(api, 10_000)


async def paged(api: Api, number: int) -> None:
    many = [
        {
            **a_service_document(f"many-{n:05}"),
            "metadata": {"name": f"many-{n:05}", "namespace": "many", "labels": {"half": str(n % 2)}},
        }
        for n in range(number)
    ]
    done = await api("POST", "/api/v1/batch", {"documents": many})
    assert done.status == 200, done
    assert len(done.json["changes"]) == number
    names, following = [], ""
    while True:
        answer = await api(
            "GET",
            f"{V1}?namespace=many&labelSelector=half=1&limit=1000"
            + (f"&continue={following}" if following else ""),
        )
        assert len(answer.json["items"]) <= 1000
        names += [each["metadata"]["name"] for each in answer.json["items"]]
        following = answer.json["continue"]
        if not following:
            break
    assert names == [f"many-{n:05}" for n in range(1, number, 2)]
