"""What the API tells of the mesh, on a running control plane."""

from __future__ import annotations

from pathlib import Path

from tests.support.api import Api
from tests.support.mesh import Mesh


async def test_status_over_the_socket(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.write_service("api")
        await mesh.serve()
        api = Api(mesh.data)
        answer = await api("GET", "/api/v1/status")
        assert answer.status == 200, answer
        assert answer.json["ready"] is True
        assert answer.json["services"] == 1
        missing = await api("GET", "/api/v1/nothing")
        assert missing.status == 404
        assert missing.headers["Content-Type"].startswith("application/problem+json")
        wrong = await api("GET", "/api/v1/status?x=1")
        assert wrong.status == 400
        assert wrong.json["errors"][0]["path"] == "x"
        assert (await api("DELETE", "/api/v1/status")).headers["Allow"] == "GET"
