"""What a store does, the same on SQLite and on a real Consul."""

from __future__ import annotations

import asyncio
import queue
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from discovery.consul_options import ConsulOptions
from documents.reading import Tree
from mesh.names import Key
from store.backend import Backend, Head
from store.consul_kv import ConsulBackend
from store.errors import Conflict, InvalidWrite, NoSuchRevision, StoreReplaced, StoreTooLarge
from store.housekeeping import collect, reachable
from store.revision import EMPTY, Revision
from store.sqlite import SqliteBackend
from store.stored import Body, Name, Stored
from store.writes import ABSENT, Put
from tests.support.consul_agent import ConsulAgent
from tests.support.consul_cluster import consul_cluster
from tests.support.stores import START, a_body, a_repository, delete, put, raw

Opener = Callable[[], Awaitable[Backend]]
PATIENCE = 45
CALM = 1.0
"""Seconds of a leader's life where leaders go."""


@pytest.fixture(scope="module")
def consul_url() -> Iterator[str]:
    """A Consul for all tests of this module; each has a prefix of its own."""
    with asyncio.Runner() as runner:
        agent = ConsulAgent()
        runner.run(agent.__aenter__())
        yield agent.url
        runner.run(agent.__aexit__())


@pytest.fixture(scope="module")
def unsteady_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three Consul servers, of which the leader is killed again and again as long as the tests run."""
    ready, stop = queue.SimpleQueue[str | BaseException](), threading.Event()

    async def run() -> None:
        async with consul_cluster(tmp_path_factory.mktemp("consul")) as cluster:
            ready.put(cluster.servers[0].url)
            while not await asyncio.to_thread(stop.wait, CALM):
                killed = await cluster.kill_leader()
                await cluster.leader()
                await cluster.start(killed)
                await cluster.leader()

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            ready.put(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        url = ready.get()
        assert isinstance(url, str), url
        yield url
    finally:
        stop.set()
        thread.join()
    assert ready.empty()


@pytest.fixture(
    params=["", "consul_url", pytest.param("unsteady_url", marks=pytest.mark.heavy)],
    ids=["sqlite", "consul", "unsteady"],
)
def place(request: pytest.FixtureRequest) -> str | None:
    """The address of a Consul; None: SQLite. Not a coroutine: the fixtures that it asks for run a loop of their own."""
    return str(request.getfixturevalue(request.param)) if request.param else None


@pytest.fixture
async def another(place: str | None, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens one more backend, as another replica (or process) would, of one store."""
    async with AsyncExitStack() as stack:
        prefix = f"test/{uuid.uuid4()}"

        async def opened() -> Backend:
            backend: Backend
            if place is not None:
                backend = await ConsulBackend.open(
                    ConsulOptions(address=place, timeout=5), prefix, patience=60
                )
            else:
                backend = await SqliteBackend.open(tmp_path / "store.db")
            stack.push_async_callback(backend.close)
            return backend

        yield opened


@pytest.fixture
async def backend(another: Opener) -> Backend:
    return await another()


async def test_an_empty_store(backend: Backend) -> None:
    repository = a_repository(backend)
    assert await repository.head() == EMPTY
    assert await repository.list() == ()
    assert await repository.history() == ()
    assert (await repository.documents()).documents == {}
    assert await repository.get("Service", Key("default", "a")) is None
    with pytest.raises(NoSuchRevision, match="the store is empty"):
        await repository.revision(1)


async def test_a_batch_is_one_revision(backend: Backend) -> None:
    repository = a_repository(backend)
    revision = await repository.commit([put("b"), put("a", {"x": 1})], author="ada", reason="first")
    assert (revision.number, revision.author, revision.reason, revision.parent) == (1, "ada", "first", "")
    assert [(each.op, str(each.key)) for each in revision.changes] == [
        ("put", "default/a"),
        ("put", "default/b"),
    ]
    assert await repository.head() == revision == await a_repository(backend).revision(1)
    a, b = await repository.list()
    assert a == Stored("Service", Key("default", "a"), a_body("a", {"x": 1}), START, a.uid, 1, "1", {})
    assert a.uid != b.uid
    assert await repository.get("Service", Key("default", "b")) == b
    assert a.document()["metadata"] == {
        "name": "a",
        "namespace": "default",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "uid": a.uid,
        "generation": 1,
        "resourceVersion": "1",
    }


async def test_what_changes_nothing_is_no_revision(backend: Backend) -> None:
    repository = a_repository(backend)
    first = await repository.commit([put("a")], author="ada")
    stored = await repository.get("Service", Key("default", "a"))
    assert stored is not None
    again = await repository.commit(
        [Put("Service", stored.key, stored.document()), delete("b")], author="ada"
    )
    assert (again.number, again.id, again.changes) == (1, first.id, ())
    assert len(await repository.history()) == 1


async def test_versions_and_generations(backend: Backend) -> None:
    repository = a_repository(backend)
    await repository.commit([put("a"), put("b")], author="ada")
    await repository.commit([put("a", {"x": 1})], author="ada")
    labelled: Body = {**a_body("a", {"x": 1}), "metadata": {"name": "a", "labels": {"team": "red"}}}
    await repository.commit([Put("Service", Key("default", "a"), labelled)], author="ada")
    a, b = await repository.list()
    assert (a.generation, a.resource_version, a.created_at) == (2, "3", START)
    assert (b.generation, b.resource_version) == (1, "1")
    await repository.commit([delete("a")], author="ada")
    await repository.commit([put("a")], author="ada")
    new = await repository.get("Service", a.key)
    assert new is not None
    assert (new.generation, new.resource_version) == (1, "5")
    assert new.uid != a.uid
    assert new.created_at > a.created_at


async def test_true_is_not_one(backend: Backend) -> None:
    repository = a_repository(backend)
    values: tuple[Tree, ...] = (True, 1, 1.0, "1")
    for number, value in enumerate(values, start=1):
        assert (await repository.commit([put("a", {"x": value})], author="ada")).number == number


async def test_a_writer_with_an_old_version_is_told_all_that_changed(backend: Backend) -> None:
    repository = a_repository(backend)
    await repository.commit([put("a"), put("b"), put("c")], author="ada")
    await repository.commit([put("a", {"x": 1}), delete("b")], author="bob")
    with pytest.raises(Conflict) as caught:
        await repository.commit(
            [put("a", {"x": 2}, "1"), delete("b", "1"), put("c", {"x": 2}, "1"), put("d", {}, "7")],
            author="ada",
        )
    assert [(each.key.name, each.expected, each.found) for each in caught.value.clashes] == [
        ("a", "1", "2"),
        ("b", "1", None),
        ("d", "7", None),
    ]
    with pytest.raises(Conflict, match=r"Service default/a is there already \(version 2\)"):
        await repository.commit([put("a", {}, ABSENT), put("new")], author="ada")
    assert (await repository.head()).number == 2
    await repository.commit([put("a", {"x": 2}, "2"), put("b", {}, ABSENT)], author="ada")


async def test_nothing_that_is_written_may_have_changed_since_a_revision(backend: Backend) -> None:
    repository = a_repository(backend)
    await repository.commit([put("a"), put("b")], author="ada")
    await repository.commit([put("b", {"x": 1})], author="bob")
    assert (await repository.commit([put("a", {"x": 1})], author="ada", expect=1)).number == 3
    with pytest.raises(Conflict, match="Service default/b was changed meanwhile"):
        await repository.commit([put("b", {"x": 2})], author="ada", expect=1)
    await repository.rollback(1, author="ada")
    # What was changed and changed back is what the writer saw.
    assert (await repository.commit([put("b", {"x": 2})], author="ada", expect=1)).number == 5


async def test_two_replicas_write_different_documents_at_once_and_both_land(another: Opener) -> None:
    repositories = [a_repository(await another()) for _ in range(2)]

    async def write(who: int) -> list[Revision]:
        return [
            await repositories[who].commit([put(f"w{who}-{number}")], author=f"w{who}")
            for number in range(12)
        ]

    written = [revision for each in await asyncio.gather(write(0), write(1)) for revision in each]
    assert sorted(revision.number for revision in written) == list(range(1, 25))
    history = await repositories[0].history()
    assert [each.id for each in reversed(history)] == [
        each.id for each in sorted(written, key=lambda revision: revision.number)
    ]
    assert len(await repositories[1].list()) == 24


async def test_of_two_replicas_that_write_one_document_one_wins(another: Opener) -> None:
    repositories = [a_repository(await another()) for _ in range(2)]
    await repositories[0].commit([put("a", {"count": 0})], author="ada")

    async def increment(who: int) -> int:
        conflicts = 0
        for _ in range(8):
            while True:
                stored = await repositories[who].get("Service", Key("default", "a"))
                assert stored is not None
                spec = stored.body["spec"]
                assert isinstance(spec, dict)
                assert isinstance(spec["count"], int)
                try:
                    await repositories[who].commit(
                        [put("a", {"count": spec["count"] + 1}, stored.resource_version)], author=f"w{who}"
                    )
                    break
                except Conflict:
                    conflicts += 1
        return conflicts

    await asyncio.gather(increment(0), increment(1))
    stored = await repositories[1].get("Service", Key("default", "a"))
    assert stored is not None
    assert stored.body["spec"] == {"count": 16}
    assert (await repositories[0].head()).number == 17


async def test_a_dry_run_tells_and_writes_nothing(backend: Backend) -> None:
    repository = a_repository(backend)
    await repository.commit([put("a")], author="ada")
    told = await repository.commit([put("a", {"x": 1}), delete("b")], author="ada", dry_run=True)
    assert (told.number, [each.op for each in told.changes]) == (2, ["put"])
    assert (await repository.head()).number == 1
    with pytest.raises(Conflict):
        await repository.commit([put("a", {}, "9")], author="ada", dry_run=True)


async def test_what_cannot_be_meant_is_refused(backend: Backend) -> None:
    repository = a_repository(backend)
    key = Key("default", "a")
    wrong: dict[str, Put] = {
        "twice": put("a"),
        "another kind": Put("Service", key, a_body("a", kind="Workload")),
        "another name": Put("Service", key, a_body("b")),
        "namespace": Put("Service", key, a_body("a", namespace="other")),
        "no metadata": Put("Service", key, {"kind": "Service"}),
        "not JSON": put("a", {"x": float("nan")}),
        "JSON: ": put("a", {"x": "\ud800"}),
    }
    for match, each in wrong.items():
        with pytest.raises(InvalidWrite, match=match):
            await repository.commit([each, put("a")] if match == "twice" else [each], author="ada")
    with pytest.raises(StoreTooLarge, match="1 MiB"):
        await repository.commit([put("a", {"x": "y" * (1 << 20)})], author="ada")
    assert await repository.head() == EMPTY


async def test_large_documents_and_large_batches(backend: Backend) -> None:
    """Beyond what one value (512 KB) and one transaction (64 operations) of Consul hold."""
    repository = a_repository(backend)
    large: dict[str, Tree] = {"text": "ä" * 400_000, "emoji": "🦆\u0000\u2028"}
    await repository.commit(
        [put("large", large), *(put(f"s{number}") for number in range(300))], author="ada"
    )
    again = a_repository(backend)
    stored = await again.get("Service", Key("default", "large"))
    assert stored is not None
    assert stored.body["spec"] == large
    assert len(await again.list()) == 301
    await again.commit([delete(f"s{number}") for number in range(299)], author="ada")
    assert [each.key.name for each in await again.list()] == ["large", "s299"]


async def test_history_of_all_and_of_one(backend: Backend) -> None:
    repository = a_repository(backend)
    for number in range(12):
        await repository.commit([put(f"s{number % 3}", {"n": number})], author=f"w{number}")
    assert [each.number for each in await repository.history(limit=3)] == [12, 11, 10]
    assert [each.number for each in await repository.history(limit=3, before=10)] == [9, 8, 7]
    one = await repository.history("Service", Key("default", "s1"))
    assert [each.number for each in one] == [11, 8, 5, 2]
    assert [each.author for each in await repository.history("Workload")] == []
    old = await repository.get("Service", Key("default", "s1"), at=6)
    assert old is not None
    assert old.body["spec"] == {"n": 4}
    assert len(await repository.list(at=2)) == 2


async def test_differences(backend: Backend) -> None:
    repository = a_repository(backend)
    await repository.commit([put("a"), put("b")], author="ada")
    await repository.commit([put("a", {"x": 1}), delete("b"), put("c")], author="ada")
    found = [
        (each.key.name, each.before is not None, each.after is not None)
        for each in await repository.diff(1, 2)
    ]
    assert found == [("a", True, True), ("b", True, False), ("c", False, True)]
    assert [each.key.name for each in await repository.diff(0, 1)] == ["a", "b"]
    assert await repository.diff(2, 2) == ()


async def test_a_rollback_to_any_of_fifty_revisions_gives_the_same_documents(backend: Backend) -> None:
    repository = a_repository(backend)
    seen: dict[int, dict[Name, bytes]] = {}
    for number in range(1, 51):
        change = put(f"s{number * 7 % 11}", {"n": number}) if number % 4 else delete(f"s{number * 3 % 11}")
        await repository.commit([change, put(f"t{number % 5}", {"n": number})], author="ada")
        seen[number] = await raw(repository)
    for number in range(1, 51):
        revision = await repository.rollback(number, author="bob")
        assert revision.root == (await repository.revision(number)).root
        assert await raw(repository) == seen[number]
        assert await raw(a_repository(backend)) == seen[number]
    same = await repository.rollback(50, author="bob")
    assert same.changes == ()
    with pytest.raises(NoSuchRevision, match="there is no revision 500"):
        await repository.rollback(500, author="bob")


async def test_watchers_see_each_revision_once(another: Opener) -> None:
    writer, reader = a_repository(await another()), a_repository(await another())
    await writer.commit([put("a")], author="ada")
    await writer.commit([put("b")], author="ada")

    async def watch(after: int) -> list[int]:
        numbers = []
        async for revision in reader.watch(after):
            numbers.append(revision.number)
            if revision.number == 30:
                break
        return numbers

    watchers = [asyncio.create_task(watch(after)) for after in (0, 1, 2)]
    for number in range(28):
        await writer.commit([put("c", {"n": number})], author="ada")
    async with asyncio.timeout(PATIENCE):
        seen = await asyncio.gather(*watchers)
    assert seen == [list(range(1, 31)), list(range(2, 31)), list(range(3, 31))]
    with pytest.raises(NoSuchRevision):
        await anext(reader.watch(31))


async def test_many_watchers_keep_nobody_from_writing(another: Opener) -> None:
    """More than a client has connections to Consul."""
    repository = a_repository(await another())

    async def watch() -> list[int]:
        numbers = []
        async for revision in repository.watch(0):
            numbers.append(revision.number)
            if revision.number == 5:
                break
        return numbers

    async with asyncio.timeout(PATIENCE):
        watchers = [asyncio.create_task(watch()) for _ in range(80)]
        for number in range(5):
            await repository.commit([put("a", {"n": number})], author="ada")
        assert await asyncio.gather(*watchers) == [[1, 2, 3, 4, 5]] * 80


async def test_a_watcher_is_told_of_another_history(backend: Backend) -> None:
    repository = a_repository(backend)
    await repository.commit([put("a")], author="ada")
    watching = repository.watch(0)
    assert (await anext(watching)).number == 1
    head = await backend.head()
    # As after a restore of a backup: of an older one, then with another revision of the same number.
    assert await backend.compare_and_set_head(head, Head(0, "", 0), {})
    with pytest.raises(StoreReplaced):
        async with asyncio.timeout(PATIENCE):
            await anext(watching)


async def test_housekeeping_keeps_what_revisions_lead_to(backend: Backend) -> None:
    repository = a_repository(backend)
    for number in range(20):
        await repository.commit([put(f"s{number % 4}", {"n": number}), put(f"t{number}")], author="ada")
    await backend.put({"f" * 64: b"nobody's"})
    before = await raw(repository)
    assert (await collect(repository)).blobs == 0  # all too new
    assert (await collect(repository, grace=-60)).blobs == 1
    removed = await collect(repository, keep=3, grace=-60)
    assert removed.revisions == 17
    assert removed.blobs > 17
    fresh = a_repository(backend)
    assert await raw(fresh) == before
    assert [each.number for each in await fresh.history()] == [20, 19, 18]
    with pytest.raises(NoSuchRevision, match="18 to 20 are kept"):
        await fresh.revision(17)
    with pytest.raises(NoSuchRevision):
        await anext(fresh.watch(16))
    assert (await anext(fresh.watch(17))).number == 18
    await fresh.rollback(18, author="ada")
    await fresh.commit([put("new")], author="ada")
    assert len(await reachable(fresh)) > 20
    assert (await collect(fresh, grace=-60)).blobs == 0


async def test_housekeeping_beside_writers_loses_nothing(another: Opener) -> None:
    repository, keeper = a_repository(await another()), a_repository(await another())
    done = asyncio.Event()

    async def keep_house() -> int:
        rounds = 0
        while not done.is_set():
            await collect(keeper, keep=5, grace=60)
            rounds += 1
        return rounds

    keeping = asyncio.create_task(keep_house())
    for number in range(60):
        await repository.commit([put(f"s{number % 7}", {"n": number})], author="ada")
        if number % 5 == 4:
            await repository.rollback((await repository.head()).number - 1, author="ada")
    done.set()
    assert await keeping > 0
    fresh = a_repository(await another())
    assert len(await fresh.list()) == 7
    for revision in await fresh.history():
        await fresh.list(at=revision.number)


async def test_one_holder_of_a_lock(another: Opener) -> None:
    first, second = await another(), await another()
    order: list[str] = []
    began, release = asyncio.Event(), asyncio.Event()

    async def hold(backend: Backend, name: str, until: asyncio.Event | None = None) -> None:
        async with backend.lock("job") as lock:
            order.append(f"{name} has it")
            began.set()
            if until is not None:
                await until.wait()
            lost = asyncio.create_task(lock.lost())
            await asyncio.sleep(0)
            assert not lost.done()
            lost.cancel()
            order.append(f"{name} leaves it")

    async with asyncio.timeout(PATIENCE):
        one = asyncio.create_task(hold(first, "one", release))
        await began.wait()
        two = asyncio.create_task(hold(second, "two"))
        async with second.lock("another"):
            pass
        assert order == ["one has it"]
        release.set()
        await asyncio.gather(one, two)
    assert order == ["one has it", "one leaves it", "two has it", "two leaves it"]


async def test_an_error_in_a_lock_is_the_errors_own(backend: Backend) -> None:
    with pytest.raises(KeyError):
        async with backend.lock("job"):
            raise KeyError
    async with asyncio.timeout(PATIENCE), backend.lock("job"):
        pass


async def test_small_values_of_replicas(another: Opener) -> None:
    first, second = await another(), await another()
    await first.publish("acks/one", b"\x00old", ttl=30)
    await first.publish("acks/one", b"\x00new", ttl=30)
    await second.publish("acks/two", b"2", ttl=30)
    await second.publish("rollout/one", b"state")
    assert await second.published("acks/") == {"acks/one": b"\x00new", "acks/two": b"2"}
    assert await first.published("rollout/") == {"rollout/one": b"state"}
    # Another process has the key now, as after a restart of the first.
    await second.publish("acks/one", b"taken over", ttl=30)
    assert (await first.published("acks/one")) == {"acks/one": b"taken over"}
    await second.withdraw("acks/two")
    await second.withdraw("acks/two")
    assert await first.published("acks/t") == {}
