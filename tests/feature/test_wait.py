"""`meshwright wait`: whether a revision has reached every proxy; who has not answered and who refuses, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.crowds import a_crowd
from tests.support.mesh import Mesh, a_document, a_service_document
from tests.support.processes import eventually
from tests.support.revisions import apply, run, waited

HONEST = 48
STUCK, REFUSES = f"default/crowd-{HONEST} (plaintext)", f"default/crowd-{HONEST + 1} (plaintext)"


@pytest.mark.timeout(180)
async def test_of_fifty_proxies_who_is_stuck_and_who_refuses_is_named(mesh: Mesh, tmp_path: Path) -> None:
    crowd = [
        a_document("Workload", f"crowd-{number}", {"address": "127.0.0.1", "meshed": True, "uses": ["api"]})
        for number in range(HONEST + 2)
    ]
    api = a_document(
        "Workload",
        "api-1",
        {"services": ["api"], "address": "127.0.0.1", "ports": [{"name": "http", "app": 9000}]},
    )
    mesh.write("mesh.yaml", a_service_document("api"), api, *crowd)
    await mesh.serve()
    async with a_crowd(tmp_path, mesh, "honest", {"honest": HONEST}):
        async with (
            a_crowd(tmp_path, mesh, "refuses", {"nacking": 1}, first=HONEST + 1) as refusing,
        ):
            async with a_crowd(tmp_path, mesh, "stuck", {"silent": 1}, first=HONEST):

                async def here() -> bool:
                    return len((await mesh.status()).proxies) == HONEST + 2

                await eventually(here, "all are connected")
                _, revision, _ = await apply(mesh, 7)

                async def all_but_one() -> bool:
                    return len((await waited(mesh, revision, "1s"))[1]["behind"]) == 1

                await eventually(all_but_one, "the honest ones have acknowledged it")
                code, found = await waited(mesh, revision, "1s")
                assert (code, found["state"], found["proxies"]) == (7, "waiting", HONEST + 2)
                assert [each["proxy"] for each in found["behind"]] == [STUCK]
                assert {each["proxy"] for each in found["refused"]} == {REFUSES}
                assert all("do not like" in each["message"] for each in found["refused"])

            # Who has gone is not waited for; who refuses is not either, for it has answered.
            code, found = await waited(mesh, revision, "60s")
            assert (code, found["state"], found["behind"]) == (1, "refused", [])
            assert {each["proxy"] for each in found["refused"]} == {REFUSES}
            assert refusing.running()

        code, found = await waited(mesh, revision, "60s")
        assert (code, found["state"], found["refused"]) == (0, "acknowledged", [])
        code, later, errors = await apply(mesh, 8, "--wait", "--timeout", "60s")
        assert (code, later) == (0, revision + 1)
        assert f"acknowledged by all proxies ({HONEST})" in errors
        assert await mesh.metric("meshwright_revision_applied") == later

    code, _, errors = await run(mesh, "wait", "--revision", "99")
    assert (code, "there is no revision 99" in errors) == (4, True)
