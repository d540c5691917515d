"""A control plane without a store, as one in a Kubernetes cluster is: what it cannot do, it refuses with what does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml

from tests.support.mesh import Mesh, a_service_document
from tests.support.processes import meshwright, start

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path_factory.mktemp("none"), store="none") as made:
        made.write("api.yaml", a_service_document("api"))
        await made.serve()
        yield made


async def said(mesh: Mesh, *arguments: str) -> tuple[int, str]:
    """Its exit code, and all that it says."""
    made = await start(
        arguments[0],
        mesh.folder,
        *meshwright(*arguments, "--data-dir", str(mesh.data)),
        env={"COLUMNS": "500"},
    )
    code = await made.process.wait()
    text = made.text()
    made.log.unlink()
    return code, text


async def test_the_past_is_elsewhere(mesh: Mesh) -> None:
    code, text = await said(mesh, "history", "Service", "api")
    assert code != 0
    wanted = (
        "kubectl get controllerrevisions -n default -l meshwright.dev/kind=Service,meshwright.dev/name=api"
    )
    assert wanted in text
    code, text = await said(mesh, "history")
    assert code != 0
    assert "kubectl get controllerrevisions -A -l meshwright.dev/kind" in text


async def test_a_document_is_described_all_the_same(mesh: Mesh) -> None:
    code, text = await said(mesh, "describe", "Service", "api")
    assert code == 0, text
    assert "kubectl get controllerrevisions -n default" in text


async def test_writes_say_what_to_do_instead(mesh: Mesh) -> None:
    file = mesh.folder / "other.yaml"
    file.write_text(yaml.safe_dump(a_service_document("other")))
    for command in (("apply", "-f", str(file)), ("delete", "Service", "api"), ("rollback", "--to", "1")):
        code, text = await said(mesh, *command)
        assert code != 0
        assert "use kubectl apply" in text, text


async def test_the_doctor_takes_it_as_it_was_set(mesh: Mesh) -> None:
    _, text = await said(mesh, "doctor")
    (store,) = (line for line in text.splitlines() if " store " in line)
    assert store.startswith("ok"), text
    assert "documents are read from files" in store


async def test_who_would_wait_is_told_how(mesh: Mesh) -> None:
    for command in (("wait",), ("wait", "3")):
        code, text = await said(mesh, *command)
        assert code == 4, text
        assert "kubectl wait" in text
