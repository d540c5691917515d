"""Control planes and their stores: what is written is in force, after a crash too, and on every replica."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from api.shapes.status import SourceState
from discovery.consul_options import ConsulOptions
from mesh.names import Key
from meshwright.data_dir import SOCKET
from meshwright.errors import SettingsError
from meshwright.settings import load
from meshwright.stores import TIDIED, keep_house, open_store, opened
from store.consul_kv import ConsulBackend
from store.errors import StoreLocked, StoreUnavailable
from store.portable import export
from store.portable import load as load_export
from store.repository import Repository
from store.sqlite import SqliteBackend
from store.writes import Delete, Put
from tests.support.consul_agent import consul_agent
from tests.support.mesh import Mesh, a_service_document
from tests.support.processes import eventually
from tests.support.stores import a_body


def service(name: str) -> Put:
    return Put("Service", Key("default", name), a_service_document(name))


async def source(mesh: Mesh, name: str = "store") -> SourceState:
    (found,) = (each for each in (await mesh.status()).sources if each.source == name)
    return found


async def services(mesh: Mesh, count: int) -> SourceState:
    async def there() -> SourceState | None:
        state = await source(mesh)
        return state if state.services == count else None

    assert mesh.server is not None
    return await eventually(there, f"{count} services of the store", mesh.server)


async def test_what_is_written_is_in_force_and_survives_a_crash(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.write("files.yaml", a_service_document("of-files"))
        await mesh.serve()
        backend = await SqliteBackend.open(mesh.data / "store.db")
        repository = Repository(backend)
        await repository.commit([service("a"), service("b")], author="ada")
        await services(mesh, 2)
        assert mesh.server is not None
        await mesh.server.kill()
        # Written while nobody serves.
        await repository.commit(
            [Delete("Service", Key("default", "a")), service("c"), service("d")], author="ada"
        )
        await mesh.serve()
        await services(mesh, 3)
        # A document that cannot be read keeps its last good one, and is told; the others are in force.
        broken = Put("Service", Key("default", "b"), a_body("b", {"ports": "none"}))
        await repository.commit([broken, service("e")], author="ada")
        state = await services(mesh, 4)
        assert [each.partition(":")[0] for each in state.errors] == ["Service default/b, spec.ports"]
        await repository.rollback(2, author="ada")
        assert (await services(mesh, 3)).errors == ()
        assert (await source(mesh, "files")).services == 1
        await backend.close()


async def test_a_name_that_files_hold_is_theirs(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.write("files.yaml", a_service_document("both", port=81))
        await mesh.serve()
        backend = await SqliteBackend.open(mesh.data / "store.db")
        await Repository(backend).commit([service("both")], author="ada")
        await backend.close()

        async def told() -> bool:
            return any(
                "service default/both of source store is left out" in each
                for each in (await mesh.status()).conflicts
            )

        assert mesh.server is not None
        await eventually(told, "the second declaration is told", mesh.server)


async def test_replicas_share_a_store_in_consul(tmp_path: Path) -> None:
    async with consul_agent() as agent:
        place = f"consul:{agent.url}/mesh/store"
        async with Mesh(tmp_path / "one", store=place) as one, Mesh(tmp_path / "two", store=place) as two:
            await one.serve()
            await two.serve()
            backend = await ConsulBackend.open(ConsulOptions(address=agent.url), "mesh/store")
            await Repository(backend).commit([service("a")], author="ada")
            await backend.close()
            for mesh in (one, two):
                await services(mesh, 1)
            # Without Consul, what it said last stays in force, and the operator is told.
            assert two.server is not None

            async def kept() -> bool:
                return any(b'"a"' in each.read_bytes() for each in (two.data / "last-good").glob("store*"))

            await eventually(kept, "the last good state of the store is on the disk", two.server)
            agent.stop()
            await two.server.kill()
            await two.serve()
            assert (await services(two, 1)).state in {"restored", "failed"}


async def failed(mesh: Mesh) -> SourceState:
    async def told() -> SourceState | None:
        state = await source(mesh)
        return state if state.state == "failed" and "another store" in (state.error or "") else None

    assert mesh.server is not None
    return await eventually(told, "the store is told to be another", mesh.server)


async def test_a_store_that_was_deleted_takes_nothing_from_the_mesh(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        await mesh.serve()
        backend = await SqliteBackend.open(mesh.data / "store.db")
        await Repository(backend).commit([service("a")], author="ada")
        await backend.close()
        await services(mesh, 1)

        async def kept() -> bool:
            return (mesh.data / "store-head.json").exists() and any(
                b'"a"' in each.read_bytes() for each in (mesh.data / "last-good").glob("store*")
            )

        assert mesh.server is not None
        await eventually(kept, "the state and the head are on the disk", mesh.server)
        await mesh.server.kill()
        for each in mesh.data.glob("store.db*"):
            each.unlink()
        await mesh.serve()
        assert (await failed(mesh)).services == 1
        command = ("store", "adopt", "--data-dir", str(mesh.data))
        said = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "meshwright", *command], capture_output=True, check=True
        )
        assert said.stdout.startswith(b"revision 0 of sqlite:")
        assert (await services(mesh, 0)).state == "live"


async def test_a_damaged_file_keeps_nobody_from_starting_and_is_told(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.write("files.yaml", a_service_document("of-files"))
        mesh.data.mkdir(mode=0o700, exist_ok=True)
        (mesh.data / "store.db").write_bytes(b"no database at all, but long enough to be one " * 100)
        await mesh.serve(ready=False)

        async def told() -> bool:
            return (mesh.data / SOCKET).exists() and "store.db-shm aside" in (
                (await source(mesh)).error or ""
            )

        assert mesh.server is not None
        await eventually(told, "the damaged file is told", mesh.server)
        assert (await source(mesh, "files")).services == 1


async def test_a_file_is_one_control_planes(tmp_path: Path) -> None:
    settings = load(None, {"data_dir": tmp_path, "store": f"sqlite:{tmp_path}/shared.db"})
    async with open_store(settings):
        with pytest.raises(StoreLocked, match=r"another control plane uses the store .*shared.db"):
            async with open_store(settings):
                pass
    async with open_store(settings):
        pass


async def test_a_consul_that_comes_back_empty_takes_nothing_from_the_mesh(tmp_path: Path) -> None:
    async with (
        consul_agent() as agent,
        Mesh(tmp_path / "one", store=f"consul:{agent.url}/mesh/store") as mesh,
    ):
        await mesh.serve()
        backend = await ConsulBackend.open(ConsulOptions(address=agent.url), "mesh/store")
        await Repository(backend).commit([service("a")], author="ada")
        await services(mesh, 1)
        saved = [line async for line in export(Repository(backend))]
        agent.stop()
        await agent.start()
        assert (await failed(mesh)).services == 1

        async def lines() -> AsyncIterator[bytes]:
            for line in saved:
                yield line

        await load_export(backend, lines())
        await backend.close()

        async def well() -> bool:
            return (await source(mesh)).state == "live"

        assert mesh.server is not None
        await eventually(well, "the store is followed again", mesh.server)
        assert (await source(mesh)).services == 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("consul", "consul at which address"),
        ("sqlite:/nonexistent/store.db", "Check that its directory is there"),
        ("redis://here", "use sqlite, sqlite:FILE, consul or consul:URL"),
    ],
)
async def test_a_store_that_cannot_be_is_told(tmp_path: Path, place: str, said: str) -> None:
    with pytest.raises((SettingsError, StoreUnavailable), match=said):
        async with opened(place, load(None, {"data_dir": tmp_path})):
            pass


async def test_status_says_the_commit_of_a_working_tree(tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.write("files.yaml", a_service_document("a"))
        for command in (("init", "--quiet", "--initial-branch", "main"), ("add", ".")):
            subprocess.run(["git", *command], cwd=mesh.documents, check=True)
        await mesh.serve()

        async def told() -> bool:
            return (await source(mesh, "files")).at == "no commit (main) with changes"

        assert mesh.server is not None
        await eventually(told, "the state of the working tree", mesh.server)


async def test_old_revisions_go_by_themselves_and_not_twice(tmp_path: Path) -> None:
    backend = await SqliteBackend.open(tmp_path / "store.db")
    repository = Repository(backend)
    for name in ("a", "b", "c", "d"):
        await repository.commit([service(name)], author="ada")
    replicas = [
        asyncio.create_task(keep_house(repository, 2, timedelta(milliseconds=5), grace=-60)) for _ in range(2)
    ]

    async def gone() -> bool:
        # To its end: whoever sweeps with such a grace takes what is being written, too.
        return len(await repository.history()) == 2 and bool(await backend.published(TIDIED))

    async with asyncio.timeout(45):
        while not await gone():  # noqa: ASYNC110 - it is looked at, not told
            await asyncio.sleep(0.01)
    await repository.commit([service("e")], author="ada")
    for each in replicas:
        each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await each
    assert [each.number for each in await repository.history()] == [5, 4, 3]
    assert len(await repository.list()) == 5
    await backend.close()
