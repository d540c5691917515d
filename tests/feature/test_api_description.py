"""The description is exact: schemathesis asks whatever it allows and whatever it does not, and every answer is as described."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.api import Api
from tests.support.mesh import LOOPBACK, Mesh, a_service_document
from tests.support.processes import running

pytestmark = pytest.mark.asyncio(loop_scope="module")
# Any text may be a page's place, a selector or a document to the description; what is wrong with it all the same is told with 422.
SETTINGS = """\
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "410", "412", "422", "429"]
"""
ENDLESS = ("--exclude-operation-id", "watch")
LARGE = r"/api/v1/(documents|batch|plan|explain|logs|upgrade-check|analyze|analysis|.*acknowledgements)"
"""Routes whose bodies are documents of every kind, or that take their time: to cover each field of each kind takes minutes."""


@dataclass(frozen=True, slots=True)
class Served:
    folder: Path
    url: str
    token: str

    async def asked(self, *options: str) -> str:
        """Run schemathesis, which exits with 0 if every answer was as described. What it said."""
        command = (
            *(
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(self.folder / "schemathesis.toml"),
                "run",
            ),
            *(
                f"{self.url}/openapi.json",
                "--header",
                f"Authorization: Bearer {self.token}",
                "--checks",
                "all",
            ),
            *(
                "--no-color",
                "--generation-database",
                "none",
                "--request-timeout",
                "30",
                "--continue-on-failure",
            ),
            *("--report-dir", str(self.folder / "reports"), *ENDLESS, *options),
        )
        async with running("schemathesis", self.folder, *command) as process:
            code = await process.process.wait()
            text = "\n".join(line[:400] for line in process.text().splitlines())
            assert code == 0, text[-20_000:]
            return text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("described")
    # Roots are rotated by what is asked here: with TLS, the asker would have to follow.
    (folder / "settings.yaml").write_text("api_requests: 1000000\napi_tls: false\n")
    (folder / "schemathesis.toml").write_text(SETTINGS)
    async with Mesh(folder, config=str(folder / "settings.yaml")) as mesh:
        mesh.write("held.yaml", a_service_document("held"))
        await mesh.serve()
        made = await Api(mesh.data)("POST", "/api/v1/api-tokens", {"name": "asker", "role": "admin"})
        yield Served(folder, f"http://{LOOPBACK}:{mesh.api_port}", made.json["token"])


async def test_answers_are_as_described(served: Served) -> None:
    few = ("--phases", "coverage,fuzzing", "--max-examples", "1", "--seed", "1")
    assert "Tested:" in await served.asked(*few, "--exclude-path-regex", LARGE)


async def test_documents_are_as_described(served: Served) -> None:
    few = ("--phases", "fuzzing", "--max-examples", "2", "--seed", "1")
    assert "Tested:" in await served.asked(*few, "--include-path-regex", LARGE)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
async def test_answers_are_as_described_at_length(served: Served) -> None:
    await served.asked("--phases", "coverage,fuzzing", "--max-examples", "200", "--exclude-path-regex", LARGE)
    await served.asked("--phases", "fuzzing", "--max-examples", "200", "--include-path-regex", LARGE)


async def test_the_page_loads_nothing_from_elsewhere(served: Served) -> None:
    status, text = await Mesh.get(f"{served.url}/docs")
    assert status == 200
    assert "http://" not in text
    assert "https://" not in text
