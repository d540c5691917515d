"""Who may what over REST: tokens, client certificates, roles and namespaces, for every route."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from api.access import NEEDS, Where
from api.roles import Role
from api.table import ROUTES
from tests.support.api import Answered, Api
from tests.support.mesh import LOOPBACK, Mesh, a_document, a_service_document
from tests.support.processes import eventually, meshwright

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = {
    "kind": "Service", "namespace": "shop", "name": "absent", "workload": "absent", "service": "absent",
    "number": "0", "token": "a" * 16, "id": "absent", "resource": "absent", "code": "absent", "rollout": "00000000",
}  # fmt: skip
"""What stands in paths: nothing that there is, so that whoever is let in does no harm."""
CALLERS = {
    "nobody": None,
    "viewer": (Role.VIEWER, None), "editor": (Role.EDITOR, None), "admin": (Role.ADMIN, None),
    "viewer of shop": (Role.VIEWER, "shop"), "editor of shop": (Role.EDITOR, "shop"), "admin of shop": (Role.ADMIN, "shop"),
    "editor of another": (Role.EDITOR, "other"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Door:
    mesh: Mesh
    api: Api
    session: aiohttp.ClientSession
    url: str

    async def token(self, role: Role, namespace: str | None = None, **more: Any) -> str:
        wish = {"name": f"{role} of {namespace or 'all'}", "role": str(role), **more}
        if namespace is not None:
            wish["namespaces"] = [namespace]
        made = await self.api("POST", "/api/v1/api-tokens", wish)
        assert made.status == 201, made
        return str(made.json["token"])

    async def __call__(self, method: str, path: str, token: str | None = None, **more: Any) -> Answered:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self.session.request(
            method, self.url + path, headers={**headers, **more.pop("headers", {})}, **more
        ) as answer:
            first = (
                await answer.content.readany() if path.startswith("/api/v1/watch") else await answer.read()
            )
            return Answered(answer.status, answer.headers.copy(), first.decode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with Mesh(tmp_path_factory.mktemp("access")) as mesh:
        await mesh.serve()
        tls = ssl.create_default_context(cafile=str(mesh.data / "roots.pem"))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
            yield Door(mesh, Api(mesh.data), session, f"https://{LOOPBACK}:{mesh.api_port}")


async def test_a_revoked_token_reads_on_by_no_open_watch(door: Door) -> None:
    token = await door.token(Role.VIEWER)
    ident = token.removeprefix("mwa_").partition(".")[0]
    headers = {"Authorization": f"Bearer {token}"}
    async with door.session.get(f"{door.url}/api/v1/watch", headers=headers) as stream:
        assert await stream.content.readline()
        assert (await door.api("DELETE", f"/api/v1/api-tokens/{ident}")).status < 300
        written = await door.api("POST", "/api/v1/documents", a_service_document("unseen"))
        assert written.status == 201, written
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(stream.content.readline(), 30)
    assert (await door.api("DELETE", "/api/v1/documents/Service/default/unseen")).status == 200


async def test_who_writes_in_one_namespace_waits_for_it_from_afar(door: Door, tmp_path: Path) -> None:
    token = tmp_path / "ci.token"
    token.write_text(await door.token(Role.EDITOR, "shop"))
    token.chmod(0o600)
    afar = ("--server", door.url, "--token-file", str(token), "--ca-file", str(door.mesh.data / "roots.pem"))
    process = await asyncio.create_subprocess_exec(
        *meshwright("apply", "-f", "-", "-n", "shop", "--wait", *afar),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    document = {**a_service_document("waited"), "metadata": {"name": "waited", "namespace": "shop"}}
    _, errors = await process.communicate(json.dumps(document).encode())
    assert (process.returncode, b"is acknowledged by all proxies" in errors) == (0, True), errors
    assert (await door.api("DELETE", "/api/v1/documents/Service/shop/waited")).status == 200


async def test_every_route_for_every_role(door: Door) -> None:
    """Whoever may not is told so before anything else is looked at; whoever may is never told so."""
    tokens = {name: None if held is None else await door.token(*held) for name, held in CALLERS.items()}
    wrong = []
    for route in ROUTES:
        need, path = NEEDS[route.name], route.full_path.format(**PATH)
        for name, held in CALLERS.items():
            if name == "nobody":
                continue
            role, namespace = held or (None, None)
            if need is None:
                may = True
            else:
                in_place = (
                    namespace is None
                    or need.where is Where.EACH
                    or (need.where is Where.PATH and namespace == "shop")
                )
                may = role is not None and role >= need.role and in_place
            # Nothing is sent in the body: what is let in is refused for that.
            answer = await door(route.method, path, tokens[name])
            if (answer.status == 403) is may or answer.status >= 500:
                wrong.append((route.name, name, answer))
    assert not wrong


async def test_without_good_credentials(door: Door) -> None:
    for sent in (None, "nonsense", "mwa_" + "a" * 16 + "." + "b" * 43):
        answer = await door("GET", "/api/v1/status", sent)
        assert answer.status == 401, answer
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json["status"] == 401
    answer = await door("GET", "/api/v1/status", headers={"Authorization": "Basic eDp5"})
    assert answer.status == 401


async def test_tokens_are_shown_once_revoked_and_expire(door: Door) -> None:
    token = await door.token(Role.VIEWER)
    assert (await door("GET", "/api/v1/status", token)).status == 200
    ident = token.removeprefix("mwa_").partition(".")[0]
    shown = await door.api("GET", "/api/v1/api-tokens")
    assert ident in {each["id"] for each in shown.json["items"]}
    secret = token.partition(".")[2]
    folder = door.mesh.data / "api-tokens"
    kept = (folder / f"{ident}.json").read_text()
    assert secret not in shown.text + kept
    assert stat.S_IMODE((folder / f"{ident}.json").stat().st_mode) == 0o600
    assert (await door.api("DELETE", f"/api/v1/api-tokens/{ident}")).status == 200
    assert (await door("GET", "/api/v1/status", token)).status == 401
    assert (await door.api("DELETE", f"/api/v1/api-tokens/{ident}")).status == 404
    short = await door.token(Role.VIEWER, life=1)

    async def expired() -> bool:
        answer = await door("GET", "/api/v1/status", short)
        return answer.status == 401 and "expired" in answer.json["detail"]

    await eventually(expired, "the token has expired", every=0.2)


async def test_a_namespace_is_all_that_its_token_sees_and_writes(door: Door) -> None:
    shop, documents = await door.token(Role.EDITOR, "shop"), "/api/v1/documents"
    own = {**a_service_document("own"), "metadata": {"name": "own", "namespace": "shop"}}
    other = {**own, "metadata": {"name": "theirs", "namespace": "other"}}
    assert (await door("POST", documents, shop, json=own)).status == 201
    assert (await door("POST", documents, shop, json=other)).status == 403
    assert (await door("POST", "/api/v1/batch", shop, json={"documents": [own, other]})).status == 403
    assert (
        await door(
            "POST",
            "/api/v1/batch",
            shop,
            json={"delete": [{"kind": "Service", "namespace": "other", "name": "x"}]},
        )
    ).status == 403
    assert (await door.api("POST", documents, other)).status == 201
    seen = await door("GET", documents, shop)
    assert {each["metadata"]["namespace"] for each in seen.json["items"]} == {"shop"}
    history = await door("GET", "/api/v1/revisions", shop)
    assert {each["namespace"] for item in history.json["items"] for each in item["changes"]} == {"shop"}
    assert (await door("GET", f"{documents}/Service/other/theirs", shop)).status == 403


async def test_a_secret_takes_an_admin(door: Door) -> None:
    """It has the control plane read files of its host."""
    path = "/api/v1/documents/Secret/shop/edge"
    secret = a_document("Secret", "edge", {"authoritiesFile": "roots.pem"})
    for role, status in ((Role.EDITOR, 403), (Role.ADMIN, 201)):
        answer = await door("PUT", path, await door.token(role, "shop"), json={**secret, "metadata": {}})
        assert answer.status == status, answer
    assert (await door("DELETE", path, await door.token(Role.EDITOR))).status == 403
    batch = {"documents": [{**secret, "metadata": {"name": "edge", "namespace": "shop"}}]}
    assert (await door("POST", "/api/v1/batch", await door.token(Role.EDITOR), json=batch)).status == 403


async def test_a_role_for_a_namespace_reaches_no_target_elsewhere(door: Door) -> None:
    """Neither by what is written, nor by what becomes of what is there, by any way of writing."""
    shop, everywhere = await door.token(Role.EDITOR, "shop"), await door.token(Role.EDITOR)
    at, batch = "/api/v1/documents/AccessPolicy/shop", "/api/v1/batch"

    def policy(name: str, *targets: dict[str, str]) -> dict[str, Any]:
        made = a_document("AccessPolicy", name, {"targetRefs": [*targets], "default": "deny"})
        return {**made, "metadata": {"name": name, "namespace": "shop"}}

    own, mesh = {"kind": "Service", "name": "web"}, {"kind": "Mesh"}
    assert (await door("PUT", f"{at}/own", shop, json=policy("own", own))).status == 201
    assert (await door("PUT", f"{at}/wide", everywhere, json=policy("wide", mesh))).status == 201
    merge = {"Content-Type": "application/merge-patch+json"}
    operations = {"Content-Type": "application/json-patch+json"}
    apply = {"Content-Type": "application/apply-patch+json"}
    delete = [{"kind": "AccessPolicy", "namespace": "shop", "name": "wide"}]
    refused: list[tuple[str, str, object, dict[str, str]]] = []
    for target in (mesh, {**own, "namespace": "other"}, {"kind": "Namespace", "name": "other"}):
        refused += [
            ("POST", "/api/v1/documents?dryRun=true", policy("new", target), {}),
            ("PUT", f"{at}/own", policy("own", target), {}),
            ("PATCH", f"{at}/own", {"spec": {"targetRefs": [target]}}, merge),
            (
                "PATCH",
                f"{at}/own",
                [{"op": "add", "path": "/spec/targetRefs/0", "value": target}],
                operations,
            ),
            ("PATCH", f"{at}/own?fieldManager=ci&force=true", policy("own", target), apply),
            ("POST", batch, {"documents": [policy("own", target)], "dryRun": True}, {}),
            ("POST", "/api/v1/plan", {"documents": [policy("own", target)]}, {}),
        ]
    refused += [
        ("PUT", f"{at}/wide", policy("wide", own), {}),
        ("PATCH", f"{at}/wide", {"spec": {"targetRefs": [own]}}, merge),
        ("PATCH", f"{at}/wide?fieldManager=ci&force=true", policy("wide", own), apply),
        ("POST", batch, {"documents": [policy("wide", own)]}, {}),
        ("POST", batch, {"delete": delete}, {}),
        ("POST", "/api/v1/plan", {"delete": delete}, {}),
        ("DELETE", f"{at}/wide", None, {}),
    ]
    for method, path, body, headers in refused:
        answer = await door(method, path, shop, json=body, headers=headers)
        assert answer.status == 403, (method, path, body, answer)
    assert (await door("DELETE", f"{at}/own", shop)).status == 200
    assert (await door("DELETE", f"{at}/wide", everywhere)).status == 200


async def test_a_patch_of_what_envoy_gets_takes_an_admin_also_to_go_back_to(door: Door) -> None:
    path = "/api/v1/documents/EnvoyPatch/shop/fast"
    spec = {"targetRefs": [{"kind": "Service", "name": "web"}], "resource": "Cluster", "name": "shop/web:80",
            "merge": {"connectTimeout": "1s"}}  # fmt: skip
    patch = {**a_document("EnvoyPatch", "fast", spec), "metadata": {"name": "fast", "namespace": "shop"}}
    editor = await door.token(Role.EDITOR)
    assert (await door("PUT", path, editor, json=patch)).status == 403
    assert (await door("POST", "/api/v1/plan", editor, json={"documents": [patch]})).status == 403
    written = await door("PUT", path, await door.token(Role.ADMIN, "shop"), json=patch)
    assert written.status == 201, written
    for route, body in (("rollback", {"to": written.json["revision"] - 1}), ("plan", {"revision": 0})):
        answer = await door("POST", f"/api/v1/{route}", editor, json=body)
        assert answer.status == 403, answer
    assert (await door.api("DELETE", path)).status == 200


async def test_a_document_that_does_not_say_its_name_is_told_where(door: Door) -> None:
    shop = await door.token(Role.EDITOR, "shop")
    for body, path in (
        ({"kind": "Service", "metadata": {"name": "a", "namespace": 5}}, "metadata.namespace"),
        ({"metadata": {"name": "a", "namespace": "shop"}}, "kind"),
    ):
        answer = await door("POST", "/api/v1/documents", shop, json=body)
        assert answer.status == 422, answer
        assert [each["path"] for each in answer.json["errors"]] == [path]
    answer = await door("POST", "/api/v1/batch", shop, json={"documents": [{"kind": "Service"}]})
    assert (answer.status, answer.json["errors"][0]["path"]) == (422, "documents[0].metadata"), answer


async def test_every_write_and_every_refusal_is_in_the_audit_log(door: Door) -> None:
    token = await door.token(Role.EDITOR, name="auditor")
    body = a_service_document("audited")
    assert (await door("POST", "/api/v1/documents?reason=because", token, json=body)).status == 201
    assert (
        await door("POST", "/api/v1/api-tokens", token, json={"name": "x", "role": "admin"})
    ).status == 403

    async def told() -> bool:
        text = (door.mesh.data / "audit.log").read_text()
        assert token not in text
        return all(
            any(all(word in line for word in words) for line in text.splitlines())
            for words in (
                (
                    "api write",
                    "createDocument",
                    "token:auditor",
                    "127.0.0.1",
                    "created Service default/audited",
                    "because",
                ),
                ("api refused", "createApiToken", "token:auditor", "403"),
            )
        )

    await eventually(told, "both are in the audit log")


async def test_a_flood_is_slowed_down_and_told_in_part(door: Door) -> None:
    answers = await asyncio.gather(*(door("GET", "/api/v1/status") for _ in range(200)))
    statuses = [each.status for each in answers]
    assert set(statuses) <= {401, 429}
    assert 429 in statuses
    # Whoever is known is let in from the same address all the same.
    assert (await door("GET", "/api/v1/status", await door.token(Role.VIEWER))).status == 200
