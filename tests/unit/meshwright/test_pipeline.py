"""When changes are published: removals at once, others after a short quiet time with a maximum."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from envoy.render import Renderer
from mesh.events import Changes, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.state import MeshState
from meshwright.editions import NOTHING, Instead, Member, Overlay
from meshwright.pipeline import PIECE, Pace, Pipeline
from meshwright.publisher import Publisher, Update
from meshwright.scopes import Outbound, Runtime, Seen
from tests.support.builders import a_service, a_snapshot, a_state, a_workload
from xds.cache import ResourceCache
from xds.types import ENDPOINT, RUNTIME

NEVER = 3600.0


class Running:
    scopes: tuple[Seen, ...] = ()

    def __init__(self, pace: Pace) -> None:
        self.cache = ResourceCache()
        state = a_state()
        self.publisher = publisher = Publisher(state, Renderer())
        self.editions = publisher.editions
        self.pipeline = Pipeline(
            state, publisher, self.cache, pace=pace, clock=asyncio.get_running_loop().time
        )
        self.pipeline.receive(
            a_snapshot(a_service("api"), a_service("web"), a_workload("api-1"), a_workload("web-1"))
        )

    def endpoints(self) -> str:
        """The version of api's endpoints, as web-1 is given them."""
        scope = next(scope for scope in self.scopes if isinstance(scope, Outbound))
        (found,) = [
            each.version
            for each in self.cache.contents(scope)
            if (each.type_url, each.name) == (ENDPOINT, "default/api:80")
        ]
        return found


@contextlib.asynccontextmanager
async def running(pace: Pace) -> AsyncIterator[Running]:
    made = Running(Pace(0.0, 0.0))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.pipeline.run())
        await made.pipeline.settled()
        made.scopes = made.pipeline.attach(Key("default", "web-1"), proved=False, proxyless=False)
        made.pipeline.pace = pace
        yield made
        task.cancel()


class Aside:
    """Who is to go on seeing api-1 where it was."""

    def __init__(self) -> None:
        self.said = NOTHING

    def overlay(self, member: Member, below: Overlay) -> Overlay:
        return self.said if member.workload == Key("default", "web-1") else below


async def test_who_is_not_to_see_a_change_leaves_before_it_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(Pace(0.0, 0.0)) as made:
        seen: list[str] = [made.endpoints()]
        monkeypatch.setattr(made.pipeline, "rescope", lambda _, scopes: setattr(made, "scopes", scopes))
        publish = made.cache.publish

        def published(*args: Any, **named: Any) -> None:
            publish(*args, **named)
            seen.append(made.endpoints())

        monkeypatch.setattr(made.cache, "publish", published)
        aside = Aside()
        made.editions.use(aside)
        old = a_workload("api-1")
        aside.said = Overlay.of({("Workload", old.key): Instead("test", old)})
        made.pipeline.receive(SourceUpdate("test", workloads=(a_workload("api-1", address="10.9.9.9"),)))
        made.pipeline.reassign()
        await made.pipeline.settled()
        assert len(seen) > 2
        assert len(set(seen)) == 1
        aside.said = NOTHING
        made.pipeline.reassign()
        await made.pipeline.settled()
        assert made.endpoints() != seen[0]


async def test_a_proxy_that_is_watched_has_another_runtime() -> None:
    async with running(Pace(0.0, 0.0)) as made:
        web = Key("default", "web-1")
        made.pipeline.rescope = lambda _, scopes: setattr(made, "scopes", scopes)
        made.scopes = made.pipeline.attach(web, proved=True, proxyless=False)
        for watched in (frozenset({web}), frozenset[Key]()):
            made.pipeline.report(watched)
            await made.pipeline.settled()
            assert Runtime(watching=bool(watched)) in made.scopes
            (found,) = made.cache.contents(Runtime(watching=bool(watched)))
            assert found.type_url == RUNTIME


async def test_a_removal_does_not_wait() -> None:
    async with running(Pace(NEVER, NEVER)) as made:
        before = made.endpoints()
        made.pipeline.receive(SourceUpdate("test", removed_workloads=(Key("default", "api-1"),)))
        await asyncio.wait_for(made.pipeline.settled(), 5)
        assert made.endpoints() != before


async def test_an_addition_waits_for_quiet_but_a_removal_takes_it_along() -> None:
    async with running(Pace(NEVER, NEVER)) as made:
        before = made.endpoints()
        made.pipeline.receive(SourceUpdate("test", workloads=(a_workload("api-2", app=9002),)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.pipeline.settled(), 0.05)
        assert made.endpoints() == before
        made.pipeline.receive(SourceUpdate("test", removed_workloads=(Key("default", "api-1"),)))
        await asyncio.wait_for(made.pipeline.settled(), 5)
        assert made.endpoints() != before


async def test_what_keeps_changing_is_sent_after_the_maximum() -> None:
    async with running(Pace(NEVER, 0.05)) as made:
        before = made.endpoints()
        made.pipeline.receive(SourceUpdate("test", workloads=(a_workload("api-2", app=9002),)))
        await asyncio.wait_for(made.pipeline.settled(), 5)
        assert made.endpoints() != before


async def test_what_changes_nothing_publishes_nothing() -> None:
    async with running(Pace(NEVER, NEVER)) as made:
        made.pipeline.receive(SourceUpdate("test", workloads=(a_workload("api-1"),)))
        await asyncio.wait_for(made.pipeline.settled(), 0.5)


async def test_a_removal_overtakes_a_large_change_that_is_on_its_way() -> None:
    published: list[frozenset[Key]] = []

    class Watched(Publisher):
        def refresh(self, state: MeshState, changes: Changes) -> Update:
            if not published:
                pipeline.receive(SourceUpdate("test", removed_workloads=(Key("default", "zz-1"),)))
            published.append(changes.endpoints)
            return super().refresh(state, changes)

    state = a_state()
    pipeline = Pipeline(
        state,
        Watched(state, Renderer()),
        ResourceCache(),
        pace=Pace(0.0, 0.0),
        clock=asyncio.get_running_loop().time,
    )
    many = [a_service(f"s{number}") for number in range(10 * PIECE)]
    pipeline.receive(a_snapshot(a_service("zz"), a_workload("zz-1"), *many))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pipeline.run())
        await asyncio.wait_for(pipeline.settled(), 10)
        task.cancel()
    assert Key("default", "zz") in published[1]


@pytest.mark.parametrize(("services", "at_once"), [(0, PIECE), (10 * PIECE, 1)])
async def test_clients_are_moved_in_pieces_and_a_removal_goes_between(services: int, at_once: int) -> None:
    """What concerns every client holds the loop for no more than a piece at a time; a client that opens a large scope is one."""
    steps: list[str | frozenset[Key]] = []
    turns: list[int] = []
    turn = 0

    async def turning() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    class Watched(Publisher):
        def refresh(self, state: MeshState, changes: Changes) -> Update:
            steps.append(changes.endpoints)
            return super().refresh(state, changes)

        def rescope(self, state: MeshState, clients: Iterable[str]) -> Update:
            clients = tuple(clients)
            if not any(isinstance(each, str) for each in steps):
                pipeline.receive(SourceUpdate("test", removed_workloads=(Key("default", "zz-1"),)))
            steps.extend(clients)
            turns.extend(turn for _ in clients)
            return super().rescope(state, clients)

    state, moved = a_state(), set[str]()
    pipeline = Pipeline(
        state,
        Watched(state, Renderer()),
        ResourceCache(),
        pace=Pace(0.0, 0.0),
        clock=asyncio.get_running_loop().time,
    )
    pipeline.rescope = lambda client, _: moved.add(client)
    names, many = [f"web-{n}" for n in range(3 * PIECE)], [f"s{n}" for n in range(services)]

    def snapshot(changed: bool) -> SourceSnapshot:
        # Who names other services has another scope.
        webs = [
            a_workload(
                name,
                services=(),
                meshed=True,
                outbound_port=15009 if changed else 15001,
                uses=[*many[place:], "zz"] if changed else ["zz"],
            )
            for place, name in enumerate(names)
        ]
        return a_snapshot(a_service("zz"), a_workload("zz-1"), *map(a_service, many), *webs)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pipeline.run()), group.create_task(turning())]
        async with asyncio.timeout(20):
            pipeline.receive(snapshot(changed=False))
            await pipeline.settled()
            for name in names:
                pipeline.attach(Key("default", name), proved=True, proxyless=False)
            steps.clear()
            turns.clear()
            pipeline.receive(snapshot(changed=True))
            await pipeline.settled()
        for task in tasks:
            task.cancel()
    assert moved == {f"default/{name}" for name in names}
    assert max(turns.count(each) for each in turns) == at_once
    first = next(place for place, each in enumerate(steps) if isinstance(each, str))
    then = next(each for each in steps[first:] if not isinstance(each, str))
    assert Key("default", "zz") in then
    assert steps.index(then, first) - first == at_once


async def test_who_comes_with_a_change_that_concerned_nobody_finds_it() -> None:
    async with running(Pace(0.0, 0.0)) as made:
        made.pipeline.receive(SourceUpdate("test", workloads=(a_workload("job", services=()),)))
        await asyncio.wait_for(made.pipeline.settled(), 5)
        scopes = made.pipeline.attach(Key("default", "job"), proved=False, proxyless=False)
        assert any(isinstance(each, Outbound) for each in scopes)


@pytest.mark.parametrize("churn", ["additions", "removals", "assignments"])
async def test_what_was_received_is_settled_though_changes_never_cease(churn: str) -> None:
    """Whatever is published, something comes before it is over; and each client is concerned each time."""
    moved: list[str] = []
    number = 0

    def come() -> None:
        nonlocal number
        number += 1
        name = Key("default", "zz-1")
        if churn == "assignments":
            pipeline.reassign()
        elif churn == "removals" and number % 2:
            pipeline.receive(SourceUpdate("test", removed_workloads=(name,)))
        else:
            pipeline.receive(SourceUpdate("test", workloads=(a_workload("zz-1", app=9000 + number % 100),)))

    class Churning(Publisher):
        def refresh(self, state: MeshState, changes: Changes) -> Update:
            if attached:
                come()
            return super().refresh(state, changes)

        def rescope(self, state: MeshState, clients: Iterable[str]) -> Update:
            clients = tuple(clients)
            moved.extend(clients)
            if attached and churn == "assignments":
                come()
            return super().rescope(state, clients)

    state, attached = a_state(), set[str]()
    pipeline = Pipeline(
        state,
        Churning(state, Renderer()),
        ResourceCache(),
        pace=Pace(0.0, 0.0),
        clock=asyncio.get_running_loop().time,
    )
    names = [f"web-{n:02}" for n in range(3 * PIECE)]
    webs = [a_workload(name, services=(), meshed=True, uses=["zz"]) for name in names]
    pipeline.receive(a_snapshot(a_service("zz"), a_workload("zz-1"), *webs))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pipeline.run())
        async with asyncio.timeout(30):
            await pipeline.settled()
            for name in names:
                pipeline.attach(Key("default", name), proved=True, proxyless=False)
                attached.add(f"default/{name}")
            for _ in range(3):
                moved.clear()
                come()
                pipeline.reassign()
                await pipeline.settled()
                assert attached <= set(moved)
        task.cancel()


async def test_who_waits_for_a_change_may_give_up_and_others_are_told() -> None:
    async with running(Pace(NEVER, 0.05)) as made:
        made.pipeline.receive(SourceUpdate("test", workloads=(a_workload("api-2", app=9002),)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.pipeline.settled(), 0)
        await asyncio.wait_for(asyncio.gather(made.pipeline.settled(), made.pipeline.settled()), 5)


async def test_what_a_sidecar_is_given_is_at_hand_before_one_comes() -> None:
    made = Running(Pace(0.0, 0.0))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.pipeline.run())
        await made.pipeline.settled()
        made.cache.open()
        made.pipeline.prepare()
        ready = [each for each in made.publisher.scopes if made.cache.ready((each,))]
        made.scopes = made.pipeline.attach(Key("default", "web-1"), proved=False, proxyless=False)
        task.cancel()
    assert [each for each in made.scopes if isinstance(each, Outbound)] == [
        each for each in ready if isinstance(each, Outbound)
    ]
