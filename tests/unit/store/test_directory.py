"""The real file system and the real watcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from documents.sets import DocumentSet
from store.directory import Directory
from tests.support.builders import service_document, workload_document

DEADLINE = 10.0


class Reader:
    """Reads a watch until something holds."""

    def __init__(self, sets: AsyncIterator[DocumentSet]) -> None:
        self.sets = sets
        self.now = DocumentSet()
        self.seen: list[DocumentSet] = []

    async def until(self, holds: Callable[[DocumentSet], bool]) -> DocumentSet:
        async with asyncio.timeout(DEADLINE):
            while True:
                self.now = await anext(self.sets)
                self.seen.append(self.now)
                if holds(self.now):
                    return self.now

    async def until_names(self, *names: str) -> DocumentSet:
        return await self.until(lambda documents: held(documents) == sorted(names))


def held(documents: DocumentSet) -> list[str]:
    return sorted(each.key.name for each in documents.documents)


@contextlib.asynccontextmanager
async def watching(root: Path, rescan: float = 30.0) -> AsyncIterator[Reader]:
    """With rescans out of the way unless asked for, so that it is the watcher which is tested."""
    async with contextlib.aclosing(Directory(root, rescan=rescan).watch()) as sets:
        yield Reader(sets)


async def test_what_is_there_and_what_changes(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(service_document("api") + workload_document("api-1"))
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "web.yml").write_text(service_document("web"))
    async with watching(tmp_path) as reader:
        first = await reader.until_names("api", "api-1", "web")
        assert sorted(first.files) == ["api.yaml", "team/web.yml"]
        (tmp_path / "store.yaml").write_text(service_document("store"))
        await reader.until_names("api", "api-1", "web", "store")
        (tmp_path / "team" / "web.yml").unlink()
        await reader.until_names("api", "api-1", "store")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "x.yaml").write_text(service_document("x"))
        await reader.until_names("api", "api-1", "store", "x")
        shutil.rmtree(tmp_path / "new")
        await reader.until_names("api", "api-1", "store")


async def test_an_empty_directory_is_an_answer(tmp_path: Path) -> None:
    async with watching(tmp_path) as reader:
        assert await reader.until(lambda documents: not documents.failure) == DocumentSet()


async def test_temporary_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in (".hidden.yaml", ".#lock.yaml", "#auto.yaml#", "api.yaml~", "api.yaml.swp", "notes.txt"):
        (tmp_path / name).write_text("a: [")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.yaml").write_text("a: [")
    (tmp_path / "api.yaml").write_text(service_document("api"))
    async with watching(tmp_path) as reader:
        assert (await reader.until_names("api")).errors == ()


async def test_an_editor_that_replaces_the_file(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(service_document("api"))
    async with watching(tmp_path) as reader:
        await reader.until_names("api")
        (tmp_path / "api.yaml.tmp").write_text(service_document("web"))
        (tmp_path / "api.yaml.tmp").replace(tmp_path / "api.yaml")
        await reader.until_names("web")


async def test_a_mounted_config_map(tmp_path: Path) -> None:
    """Kubernetes swaps `..data`, a link to a folder, in one rename; the visible files link into it."""

    def version(name: str, service: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "api.yaml").write_text(service_document(service))
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    version("..2026_1", "first")
    (tmp_path / "api.yaml").symlink_to("..data/api.yaml")
    async with watching(tmp_path) as reader:
        await reader.until_names("first")
        version("..2026_2", "second")
        await reader.until_names("second")


async def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "sub" / "api.yaml").write_text(service_document("api"))
    async with watching(tmp_path) as reader:
        await reader.until_names("api")


async def test_a_directory_that_vanishes_is_a_failure_and_nothing_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "api.yaml").write_text(service_document("api"))
    async with watching(root, rescan=0.1) as reader:
        await reader.until_names("api")
        root.rename(tmp_path / "away")
        failed = await reader.until(lambda documents: bool(documents.failure))
        assert failed.failure == f"the directory {root} is not there: create it"
        assert held(failed) == ["api"]
        (tmp_path / "away").rename(root)
        recovered = await reader.until(lambda documents: not documents.failure)
        assert held(recovered) == ["api"]


async def test_another_directory_in_its_place_is_watched(tmp_path: Path) -> None:
    root, other = tmp_path / "docs", tmp_path / "other"
    for folder in (root, other):
        folder.mkdir()
    (other / "web.yaml").write_text(service_document("web"))
    async with watching(root, rescan=0.1) as reader:
        await reader.until(lambda documents: not documents.failure)
        root.rename(tmp_path / "old")
        other.rename(root)
        await reader.until_names("web")
        (root / "api.yaml").write_text(service_document("api"))
        await reader.until_names("api", "web")


async def test_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    async with watching(root, rescan=0.05) as reader:
        await reader.until(lambda documents: bool(documents.failure))
        root.mkdir()
        (root / "api.yaml").write_text(service_document("api"))
        await reader.until_names("api")
        assert len([each for each in reader.seen if each.failure]) == 1


async def test_a_file_in_place_of_the_directory_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "docs").write_text("")
    async with watching(tmp_path / "docs", rescan=0.05) as reader:
        failed = await reader.until(lambda documents: bool(documents.failure))
        assert failed.failure == f"{tmp_path / 'docs'} is a file: give the directory that it is in"


async def test_what_looks_like_a_document_and_is_not_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    for name in (
        "api.yaml",
        "web.json",
        "team/STORE.YAML",
        "notes.txt",
        "api.yaml~",
        "README.md",
        ".hidden.json",
    ):
        (tmp_path / name).write_text(service_document("api") if name == "api.yaml" else "{}")
    async with watching(tmp_path) as reader:
        found = await reader.until_names("api")
        assert found.skipped == ("team/STORE.YAML", "web.json")
        assert found.errors == ()
        assert len(found.warnings) == 2
        (tmp_path / "web.json").unlink()
        await reader.until(lambda documents: documents.skipped == ("team/STORE.YAML",))


async def test_what_is_wrong_stays_out_and_all_else_goes_on(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(service_document("api"))
    async with watching(tmp_path) as reader:
        await reader.until_names("api")
        (tmp_path / "api.yaml").write_text("a: [")
        bad = await reader.until(lambda documents: bool(documents.errors))
        assert held(bad) == ["api"]
        assert str(bad.errors[0]).startswith("api.yaml:2, document 1: not YAML: ")
        (tmp_path / "web.yaml").write_text(service_document("web"))
        await reader.until_names("api", "web")
        (tmp_path / "nonsense.yaml").write_bytes(b"lorem: [ipsum\n" * 750_000)
        large = await reader.until(lambda documents: len(documents.errors) == 2)
        assert "at most 8 MiB are read" in str(large.errors[1])
        (tmp_path / "api.yaml").write_text(service_document("api"))
        (tmp_path / "nonsense.yaml").unlink()
        healed = await reader.until(lambda documents: not documents.errors)
        assert held(healed) == ["api", "web"]


@pytest.mark.parametrize("kind", ["link", "pipe"])
async def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "api.yaml").symlink_to("nowhere")
    else:
        os.mkfifo(tmp_path / "api.yaml")
    async with watching(tmp_path) as reader:
        documents = await reader.until(lambda documents: bool(documents.errors))
        assert str(documents.errors[0]) == (
            "api.yaml: it is not a regular file, nor a link to one. Remove it or mend the link"
        )


async def test_a_half_written_file_removes_nothing(tmp_path: Path) -> None:
    """Writers that truncate first leave a moment in which everything seems to be gone."""
    path = tmp_path / "api.yaml"
    whole = "".join(service_document(f"s{n}") for n in range(50))
    path.write_text(whole)
    async with watching(tmp_path, rescan=0.01) as reader:
        await reader.until(lambda documents: len(held(documents)) == 50)
        for turn in range(20):
            with path.open("w") as file:
                for n in range(50):
                    file.write(service_document(f"s{n}"))
                    file.flush()
                    await asyncio.sleep(0)
                file.write(service_document(f"turn{turn}"))
            await reader.until(lambda documents, turn=turn: f"turn{turn}" in held(documents))  # type: ignore[misc]
        for documents in reader.seen:
            assert len([name for name in held(documents) if name.startswith("s")]) == 50
            assert documents.errors == ()


async def test_a_change_that_leaves_size_and_time_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(service_document("aaa"))
    async with watching(tmp_path, rescan=0.2) as reader:
        await reader.until_names("aaa")
        status = path.stat()
        path.write_text(service_document("bbb"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        await reader.until_names("bbb")


async def test_a_change_arrives_quickly_though_there_are_many_files(tmp_path: Path) -> None:
    def content(n: int, weight: int = 1) -> str:
        instances = (
            workload_document(
                f"s{n}-{i}",
                f"services: [s{n}], address: 10.0.0.{i + 1}, weight: {weight}, ports: [{{name: http, app: 80}}]",
            )
            for i in range(9)
        )
        return service_document(f"s{n}") + "".join(instances)

    for n in range(200):
        (tmp_path / f"s{n}.yaml").write_text(content(n))
    async with watching(tmp_path) as reader:
        await reader.until(lambda documents: len(held(documents)) == 2000)
        took = []
        for weight in range(2, 12):
            start = time.monotonic()
            (tmp_path / "s7.yaml").write_text(content(7, weight))
            await reader.until(lambda documents: True)
            took.append(time.monotonic() - start)
    # Alone on the machine it is some 15 ms; the median, with room for what else runs.
    assert sorted(took)[len(took) // 2] < 0.1


async def test_a_second_watch_knows_what_a_refused_file_held(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(service_document("api"))
    (tmp_path / "web.yaml").write_text(service_document("web"))
    directory = Directory(tmp_path)
    async with contextlib.aclosing(directory.watch()) as sets:
        await Reader(sets).until_names("api", "web")
    path.write_text("a: [")
    (tmp_path / "web.yaml").unlink()
    async with contextlib.aclosing(directory.watch()) as sets:
        documents = await Reader(sets).until_names("api")
        assert len(documents.errors) == 1


async def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with watching(tmp_path) as reader:
        await reader.until(lambda documents: True)
    assert asyncio.all_tasks() == before
