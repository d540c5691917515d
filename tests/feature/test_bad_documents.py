"""A wrong document at three in the morning: it is refused with a name and a way out, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from meshwright.client import get_listing
from tests.support.mesh import Instance, Mesh, a_document, a_service_document
from tests.support.processes import eventually


def syntax_error(mesh: Mesh, api: Instance) -> None:
    (mesh.documents / "api.yaml").write_text("apiVersion: meshwright.dev/v1alpha1\nkind: [Service\n")


def unknown_field(mesh: Mesh, api: Instance) -> None:
    document = a_service_document("api")
    document["spec"]["prots"] = []
    mesh.write("api.yaml", document, api.document())


def duplicate_service(mesh: Mesh, api: Instance) -> None:
    mesh.write("zz-again.yaml", a_service_document("api", port=81))


def impossible_port(mesh: Mesh, api: Instance) -> None:
    mesh.write("api.yaml", a_service_document("api", port=70000), api.document())


def dangling_reference(mesh: Mesh, api: Instance) -> None:
    wrong = api.document()
    wrong["spec"]["services"] = ["ap"]
    mesh.write("api.yaml", a_service_document("api"), wrong)


def nonsense(mesh: Mesh, api: Instance) -> None:
    (mesh.documents / "api.yaml").write_bytes(b"%nonsense: [{]}" * 700_000)


CASES: list[tuple[Callable[[Mesh, Instance], None], list[str]]] = [
    (syntax_error, ["api.yaml", "line"]),
    (unknown_field, ["api.yaml", "Service", "spec.prots"]),
    (duplicate_service, ["zz-again.yaml", "api.yaml", "default/api"]),
    (impossible_port, ["api.yaml", "Service", "spec.ports", "70000"]),
    (dangling_reference, ["api.yaml", "Workload", "spec.services", "ap"]),
    (nonsense, ["api.yaml", "1 MiB"]),
]


@pytest.mark.parametrize(("wrong", "said"), CASES, ids=[case.__name__ for case, _ in CASES])
async def test_a_wrong_file_is_refused_whole_and_the_mesh_goes_on(
    mesh: Mesh, wrong: Callable[[Mesh, Instance], None], said: list[str]
) -> None:
    web, api = Instance("web", "web-1", uses=None), Instance("api", "api-1")
    mesh.write_service("web", web)
    mesh.write_service("api", api)
    await mesh.serve()
    await mesh.up(web, api)

    async def passes() -> bool:
        return (await mesh.call(web, "api.mesh"))[0] == 200

    await eventually(passes, "a request passes")
    wrong(mesh, api)

    async def told() -> bool:
        source = next(each for each in (await mesh.status()).sources if each.source == "files")
        text = "\n".join(source.errors)
        assert text
        for part in said:
            assert part in text, text
        return True

    await eventually(told, "status tells file, document and path", every=0.1)
    assert await passes(), "what was good before is still in force"
    mesh.write("late.yaml", a_service_document("late"), Instance("late", "late-1").document())

    async def others_go_on() -> bool:
        return bool(await mesh.endpoints(web, "default/late:80"))

    await eventually(others_go_on, "another file is taken meanwhile")
    for path in mesh.documents.glob("zz-*"):
        path.unlink()
    mesh.write_service("api", api)

    async def mended() -> bool:
        return not (await mesh.status()).sources[0].errors

    await eventually(mended, "the mended file is taken", every=0.1)
    assert await passes()


async def test_a_start_with_a_wrong_file_serves_the_rest(mesh: Mesh) -> None:
    web, api = Instance("web", "web-1", uses=None), Instance("api", "api-1")
    mesh.write_service("web", web)
    mesh.write_service("api", api)
    (mesh.documents / "wrong.yaml").write_text(yaml.safe_dump(a_document("Servise", "x", {})))
    await mesh.serve()
    await mesh.up(web, api)

    async def passes() -> bool:
        return (await mesh.call(web, "api.mesh"))[0] == 200

    await eventually(passes, "a request passes")
    assert any("wrong.yaml" in line and "Servise" in line for line in (await mesh.status()).sources[0].errors)


async def test_a_restart_with_a_wrong_file_keeps_what_it_held(mesh: Mesh) -> None:
    web, api = Instance("web", "web-1", uses=None), Instance("api", "api-1")
    mesh.write_service("web", web)
    mesh.write_service("api", api)
    server = await mesh.serve()
    await mesh.up(web, api)

    async def passes() -> bool:
        return (await mesh.call(web, "api.mesh"))[0] == 200

    await eventually(passes, "a request passes")

    async def written() -> bool:
        return any(path.stat().st_size for path in (mesh.data / "last-good").glob("*.lastgood"))

    await eventually(written, "the last good state is on disk")
    await server.stop()
    syntax_error(mesh, api)
    await mesh.serve()
    assert any("api.yaml" in line for line in (await mesh.status()).sources[0].errors)
    listed = await get_listing(mesh.data)
    assert {each.workload for each in listed.workloads} == {"default/api-1", "default/web-1"}
    assert await passes()
    # Mended, and without the instance: now it is gone.
    mesh.write_service("api")

    async def gone() -> bool:
        return {each.workload for each in (await get_listing(mesh.data)).workloads} == {"default/web-1"}

    await eventually(gone, "the mended file is in force")
    assert not (await mesh.status()).sources[0].errors
