from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from discovery.file import FileSource, difference
from discovery.source import SourceEvent, SourceFailed, SourceRecovered, SourceReport
from documents.parsing import parse
from documents.sets import DocumentSet
from mesh.events import SourceUpdate
from mesh.state import MeshState
from store.directory import Directory
from tests.support.builders import (
    TRUST_DOMAIN,
    a_key,
    a_service,
    a_snapshot,
    a_workload,
    service_document,
    workload_document,
)


def a_set(start: DocumentSet | None = None, **files: str) -> DocumentSet:
    return (start or DocumentSet()).with_files(
        [parse(f"{name}.yaml", text.encode()) for name, text in files.items()]
    )


async def _each(sets: Iterable[DocumentSet]) -> AsyncIterator[DocumentSet]:
    for each in sets:
        yield each


async def events(*sets: DocumentSet) -> list[SourceEvent]:
    return [event async for event in FileSource("files", _each(sets)).events()]


API = service_document("api")
API_1 = workload_document("api-1")


async def test_first_a_snapshot_then_what_changed() -> None:
    first = a_set(api=API + API_1)
    second = a_set(first, web=service_document("web"))
    third = second.with_files([], ["api.yaml"])
    assert await events(first, first, second, third) == [
        a_snapshot(a_service(), a_workload("api-1", sidecar=15101), source="files"),
        SourceUpdate("files", services=(a_service("web"),)),
        SourceUpdate("files", removed_services=(a_key("api"),), removed_workloads=(a_key("api-1"),)),
    ]


async def test_only_the_documents_that_changed_are_told() -> None:
    first = a_set(api=API + API_1 + workload_document("api-2"))
    second = a_set(first, api=API + API_1 + workload_document("api-2", "address: 10.0.0.1, weight: 2"))
    (_, update) = await events(first, second)
    assert isinstance(update, SourceUpdate)
    assert [str(each.key) for each in update.workloads] == ["default/api-2"]
    assert update.services == ()


async def test_a_document_that_moves_is_not_removed() -> None:
    first = a_set(a=API + API_1)
    second = a_set(first, a=API, b=API_1)
    (_, update) = await events(first, second)
    assert isinstance(update, SourceUpdate)
    assert update.removed_workloads == ()
    assert update.workloads[0].origin == ("b.yaml#1 Workload default/api-1",)


async def test_a_second_reading_takes_back_what_the_first_reported() -> None:
    readings = [a_set(web=workload_document("web", "address: 10.0.0.1, uses: [nobody]")), a_set(api=API)]

    class Sets:
        async def __aiter__(self) -> AsyncIterator[DocumentSet]:
            yield readings.pop(0)

    source = FileSource("files", Sets())
    for expected in (1, 0):
        (*_, report) = [event async for event in source.events()]
        assert isinstance(report, SourceReport)
        assert len(report.warnings) == expected


async def test_errors_and_warnings_are_reported_and_taken_back() -> None:
    first = a_set(api=API)
    bad = a_set(first, api="a: [", web=workload_document("web", "address: 10.0.0.1, uses: [nobody]"))
    good = a_set(bad, api=API, web=workload_document("web", "address: 10.0.0.1, uses: [api]"))
    (_, update, report, _, cleared) = await events(first, bad, good)
    assert isinstance(update, SourceUpdate)
    assert isinstance(report, SourceReport)
    assert report.errors[0].startswith("api.yaml:2, document 1: not YAML")
    assert report.warnings[0].startswith("web.yaml:5, document 1 (Workload default/web), spec.uses[0]: ")
    assert cleared == SourceReport("files")


async def test_a_failure_and_its_end() -> None:
    first = a_set(api=API)
    assert (await events(first, first.failed("gone"), first.failed("gone"), first))[1:] == [
        SourceFailed("files", "gone"),
        SourceRecovered("files"),
    ]


async def test_nothing_is_said_of_services_before_the_directory_could_be_read() -> None:
    (failed, recovered, snapshot) = await events(DocumentSet().failed("not there"), DocumentSet())
    assert failed == SourceFailed("files", "not there")
    assert recovered == SourceRecovered("files")
    assert snapshot == a_snapshot(source="files")


async def test_from_a_real_directory_and_twice(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(API + API_1)
    source = FileSource("files", Directory(tmp_path))
    for _ in range(2):
        async with contextlib.aclosing(source.events()) as told, asyncio.timeout(10):
            assert await anext(told) == a_snapshot(
                a_service(), a_workload("api-1", sidecar=15101), source="files"
            )
    async with contextlib.aclosing(source.events()) as told, asyncio.timeout(10):
        await anext(told)
        (tmp_path / "web.yaml").write_text(service_document("web"))
        assert await anext(told) == SourceUpdate("files", services=(a_service("web"),))


contents = st.sampled_from(
    [
        "",
        API,
        API_1,
        API + API_1,
        service_document("web"),
        workload_document("web-1"),
        "a: [",
        API + service_document("web"),
    ]
)
histories = st.lists(st.dictionaries(st.sampled_from("abc"), contents, min_size=1), max_size=6)


@given(histories)
def test_differences_add_up_to_the_whole(history: list[dict[str, str]]) -> None:
    documents = DocumentSet()
    state, _ = MeshState(TRUST_DOMAIN).apply(documents.to_snapshot("files"))
    for files in history:
        old, documents = documents, a_set(documents, **files)
        update = difference("files", old, documents)
        if update is not None:
            state, _ = state.apply(update)
    whole, _ = MeshState(TRUST_DOMAIN).apply(documents.to_snapshot("files"))
    assert state == whole
    for key, service in whole.services.items():
        assert state.services[key].origin == service.origin
