"""The store in Consul when leaders go, when nobody answers, and when an answer is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from discovery.consul_options import ConsulOptions
from store.checking import check
from store.consul_http import Away, ConsulHttp, Operation, Pair
from store.consul_kv import ConsulBackend
from store.errors import OutcomeUnknown, StoreUnavailable
from store.housekeeping import collect
from store.repository import Repository
from tests.support.consul_agent import consul_agent
from tests.support.consul_cluster import Cluster, Server, consul_cluster
from tests.support.stores import a_repository, put

PATIENCE = 90


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with consul_cluster(tmp_path) as made:
        yield made


async def opened(server: Server, patience: float = 60.0) -> ConsulBackend:
    return await ConsulBackend.open(ConsulOptions(address=server.url, timeout=5.0), "test", patience=patience)


async def test_two_writers_and_a_watcher_through_changes_of_leaders(cluster: Cluster) -> None:
    """What was acknowledged is there, once; nothing else is; the watcher saw each revision once."""
    leader = await cluster.leader()
    followers = [each for each in cluster.servers if each is not leader]
    backends = [await opened(each) for each in (*followers, followers[0])]
    first, second, reader = map(a_repository, backends)
    acknowledged: list[tuple[int, str]] = []
    stop = asyncio.Event()

    async def write(repository: Repository, who: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            batch = [put(f"{who}-{number}-{each}") for each in range(70)]  # more than one transaction takes
            revision = await repository.commit(batch, author=who)
            acknowledged.append((revision.number, revision.id))

    async def watch() -> list[tuple[int, str]]:
        seen = []
        async for revision in reader.watch(0):
            seen.append((revision.number, revision.id))
            if revision.author == "end":
                break
        return seen

    async def reached(count: int) -> None:
        while len(acknowledged) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    try:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            async with asyncio.TaskGroup() as writers:
                writers.create_task(write(first, "one"))
                writers.create_task(write(second, "two"))
                await reached(10)
                killed = await cluster.kill_leader()
                await reached(len(acknowledged) + 10)
                await cluster.start(killed)
                await reached(len(acknowledged) + 10)
                stop.set()
            end = await first.commit([put("the-end")], author="end")
            acknowledged.append((end.number, end.id))
        history = [(each.number, each.id) for each in reversed(await first.history(limit=10_000))]
        assert history == watching.result()
        assert [number for number, _ in history] == list(range(1, len(history) + 1))
        assert sorted(acknowledged) == history
        assert (await check(a_repository(backends[0]))).documents == 70 * (len(acknowledged) - 1) + 1
    finally:
        for each in backends:
            await each.close()


class LossyHttp(ConsulHttp):
    """A fault that the real Consul cannot be made to show at will: the answer to the write of a head is lost, after it was
    done or before.
    """

    def __init__(self, options: ConsulOptions) -> None:
        super().__init__(options)
        self.lose: list[str] = []
        self.meanwhile: list[Repository] = []

    async def transaction(self, operations: Sequence[Operation]) -> list[Pair] | None:
        if not any(each["Verb"] == "cas" for each in operations) or not self.lose:
            return await super().transaction(operations)
        match self.lose.pop(0):
            case "before":
                raise Away("the connection broke", sent=True)
            case "after":
                await super().transaction(operations)
            case "after, and somebody else writes":
                await super().transaction(operations)
                await self.meanwhile[0].commit([put("theirs")], author="bob")
            case "before, and somebody else writes":
                await self.meanwhile[0].commit([put("theirs")], author="bob")
        raise Away("the connection broke", sent=True)

    async def read(self, key: str) -> Pair | None:
        if self.lose == ["for good"]:
            raise Away("the connection broke", sent=False)
        return await super().read(key)


@pytest.mark.parametrize(
    ("lost", "number"),
    [
        (["before"], 2),
        (["after"], 2),
        (["before", "after"], 2),
        (["after, and somebody else writes"], 2),
        (["before, and somebody else writes"], 3),
    ],
)
async def test_a_lost_answer_neither_loses_nor_repeats_a_write(lost: list[str], number: int) -> None:
    async with consul_agent() as agent:
        options = ConsulOptions(address=agent.url)
        http = LossyHttp(options)
        ours, theirs = ConsulBackend(http, "test"), await ConsulBackend.open(options, "test")
        repository, other = a_repository(ours), a_repository(theirs)
        http.meanwhile.append(other)
        try:
            await repository.commit([put("first")], author="ada")
            http.lose = list(lost)
            revision = await repository.commit([put("ours")], author="ada")
            assert revision.number == number
            history = await other.history()
            assert [each.id for each in history].count(revision.id) == 1
            assert sorted(each.key.name for each in await other.list()) == sorted(
                ["first", "ours", *(["theirs"] if "somebody" in lost[0] else [])]
            )
            await check(other)
        finally:
            await ours.close()
            await theirs.close()


async def test_an_answer_that_never_comes_is_told_as_such() -> None:
    async with consul_agent() as agent:
        options = ConsulOptions(address=agent.url)
        http = LossyHttp(options)
        ours, theirs = ConsulBackend(http, "test", patience=0.5), await ConsulBackend.open(options, "test")
        repository = a_repository(ours)
        try:
            await repository.commit([put("first")], author="ada")
            http.lose = ["after", "for good"]
            with pytest.raises(OutcomeUnknown, match="revision 2 may be there or not") as caught:
                await repository.commit([put("ours")], author="ada")
            assert caught.value.id == (await a_repository(theirs).revision(2)).id
            http.lose = []
            assert (await repository.head()).number == 2
        finally:
            await ours.close()
            await theirs.close()


async def test_nobody_answers() -> None:
    async with consul_agent() as agent:
        backend = await ConsulBackend.open(ConsulOptions(address=agent.url), "test", patience=0.5)
        repository = a_repository(backend)
        await repository.commit([put("first")], author="ada")
        agent.stop()
        with pytest.raises(StoreUnavailable, match=r"nothing was written\. See to it that Consul runs"):
            await repository.commit([put("second")], author="ada")
        with pytest.raises(StoreUnavailable):
            await repository.head()
        await backend.close()


async def test_a_token_that_may_not_is_told_and_never_shown() -> None:
    async with consul_agent(acl=True) as agent:
        with pytest.raises(StoreUnavailable, match="key:write on its prefix and session:write"):
            await ConsulBackend.open(ConsulOptions(address=agent.url), "test")
        # What docs/store.md says that it needs.
        rules = 'key_prefix "test" { policy = "write" }\nsession_prefix "" { policy = "write" }'
        await agent.put("/v1/acl/policy", {"Name": "store", "Rules": rules})
        token = (await agent.put("/v1/acl/token", {"Policies": [{"Name": "store"}]}))["SecretID"]
        backend = await ConsulBackend.open(ConsulOptions(address=agent.url, token=token), "test")
        repository = a_repository(backend)
        await repository.commit([put("first")], author="ada")
        await repository.commit([put("first", {"n": 2})], author="ada")
        async with backend.lock("job"):
            await backend.publish("acks/one", b"1", ttl=30)
        assert await backend.published("acks/") == {"acks/one": b"1"}
        await backend.withdraw("acks/one")
        assert (await collect(repository, keep=1, grace=-60)).revisions == 1
        assert token not in backend.where
        await backend.close()
        wrong = ConsulOptions(address=agent.url, token="0f0e4f3a-0000-4000-8000-000000000000")
        with pytest.raises(StoreUnavailable) as caught:
            await ConsulBackend.open(wrong, "test")
        assert wrong.token not in str(caught.value)


async def test_the_lock_of_a_replica_that_is_cut_off_goes_to_another(cluster: Cluster) -> None:
    first, second = [await opened(each) for each in cluster.servers[:2]]
    try:
        async with asyncio.timeout(PATIENCE):
            async with first.lock("job") as lock:
                # As if it could reach nobody: its session is ended by Consul, here by hand.
                sessions = await _sessions(cluster.servers[1])
                await second._http.end_session(
                    next(each for each in sessions if "locks/job" in sessions[each])
                )
                await lock.lost()
                async with second.lock("job"):
                    pass
    finally:
        await first.close()
        await second.close()


async def _sessions(server: Server) -> dict[str, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/v1/session/list") as answer:
        return {each["ID"]: each["Name"] for each in await answer.json()}
