"""The driver over a real pipeline, with streams and a clock that the test has in hand: who is given what, when, and what a restart leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from api.rolling import NoSuchRollout, RolloutIsOver
from envoy.render import Renderer
from mesh.events import Declared, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.rollout import Plan, RolloutPolicy, Stage, point
from mesh.state import MeshState
from mesh.targeting import TargetRef
from meshwright.editions import Member
from meshwright.metrics import Metrics
from meshwright.pipeline import Pace, Pipeline
from meshwright.publisher import Publisher
from meshwright.rollout.book import Book
from meshwright.rollout.driver import RETRY, Driver
from meshwright.rollout.keeping import FileRecords
from meshwright.rollout.machine import Abort, Phase, Promote
from meshwright.rollout.record import Kept, Rollout
from meshwright.rollout.watching import Watching
from meshwright.scopes import Outbound, Runtime
from store.backend import Backend
from store.errors import StoreUnavailable
from store.sqlite import SqliteBackend
from tests.support.builders import TRUST_DOMAIN, a_key, a_proxy, a_service
from tests.support.policy_documents import declared
from xds.cache import ResourceCache
from xds.state import Refusal

WEBS = sorted((a_key(f"web-{number}") for number in range(4)), key=point)
FIRST = WEBS[0]
POLICY = Declared(
    "RolloutPolicy",
    RolloutPolicy(a_key("all"), Plan((Stage(10, share=25), Stage(10, share=50))), (TargetRef.mesh(),)),
)


def a_timeout(request: str) -> Declared:
    (made,) = declared(
        "apiVersion: meshwright.dev/v1alpha1\nkind: TimeoutPolicy\nmetadata: {name: api}\n"
        f"spec: {{targetRefs: [{{kind: Service, name: api}}], request: {request}}}\n"
    )
    assert isinstance(made, Declared)
    return made


class AStream:
    def __init__(self) -> None:
        self.heard_until = float("inf")

    def heard(self, since: float, type_url: str | None = None) -> bool:
        del type_url
        return self.heard_until >= since


class Full(FileRecords):
    """A disk that takes nothing while it is full: a real one cannot be made so here without root."""

    full = False

    def save(self, kept: Kept) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().save(kept)


class World:
    def __init__(self, folder: Path, shared: Backend | None = None) -> None:
        self.now, self.undone, self.away = 1000.0, list[str](), False
        state_services = (a_service("api"), a_service("web"))
        workloads = (a_proxy("api-1", uses=()), *(a_proxy(each.name, uses=["api"]) for each in WEBS))
        snapshot = SourceSnapshot("files", state_services, workloads, (POLICY,))
        self.renderer = Renderer()
        state = MeshState(TRUST_DOMAIN)
        self.publisher = Publisher(state, self.renderer)
        self.pipeline = Pipeline(
            state, self.publisher, ResourceCache(), pace=Pace(0.0, 0.0), clock=lambda: self.now
        )
        self.scopes: dict[str, tuple[Any, ...]] = {}
        self.pipeline.rescope = self.scopes.__setitem__
        self.streams = {str(each): AStream() for each in WEBS}
        self.records = Full(folder)
        self.told: list[str] = []
        metrics = Metrics(CollectorRegistry())
        self.book = Book(
            self.records, lambda event, _: self.told.append(event), metrics.registry, lambda: self.now, shared
        )
        self.book.load()
        self.publisher.editions.use(self.book)
        self.driver = Driver(
            self.book,
            self.pipeline,
            self.publisher.clients,
            self,
            Watching(lambda: self.pipeline.state, metrics),
            self.undo,
            member=self.publisher.member,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
        )
        self.driver.resume()
        self.say(snapshot)

    def streams_of(self, client: str) -> Iterable[AStream]:
        return [self.streams[client]]

    async def undo(self, rollout: Rollout) -> str:
        if self.away:
            raise StoreUnavailable("the store is away")
        self.undone.append(rollout.id)
        return "put back"

    def say(self, event: SourceSnapshot | SourceUpdate) -> None:
        self.driver.before(self.pipeline.state, event)
        self.pipeline.receive(event)
        self.driver.after()

    def attach(self) -> None:
        for each in WEBS:
            self.scopes[str(each)] = self.pipeline.attach(each, proved=True, proxyless=False)

    def having(self, request: str) -> set[Key]:
        """Who is given this timeout."""
        return {
            each
            for each in WEBS
            if any(
                f"{request}" in str(policy.fields)
                for scope in self.scopes[str(each)]
                if isinstance(scope, Outbound)
                for policy in self.publisher.editions[scope.edition].state.policies.policies.values()
                if policy.kind == "TimeoutPolicy"
            )
        }

    def watched(self) -> set[Key]:
        """Who is to say what it handles."""
        return {each for each in WEBS if Runtime(watching=True) in self.scopes[str(each)]}

    def one(self) -> Rollout:
        return self.book.all()[0]

    def phase(self) -> Phase:
        return self.one().state.phase

    async def round(self, seconds: float = 0.0) -> None:
        self.now += seconds
        await self.driver.round()
        await self.book.kept()


@contextlib.asynccontextmanager
async def a_world(folder: Path, shared: Backend | None = None) -> AsyncIterator[World]:
    made = World(folder, shared)
    task = asyncio.create_task(made.pipeline.run())
    try:
        await made.pipeline.settled()
        made.attach()
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def begun(world: World, request: str = "7s") -> None:
    world.say(SourceUpdate("files", declared=(a_timeout(request),)))
    await world.pipeline.settled()
    assert world.having(request) == set(), "nobody has it before anything was decided"
    await world.round()
    assert world.having(request) == {FIRST}


async def test_from_stage_to_stage(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)
        assert world.watched() == {*WEBS}
        world.streams[str(FIRST)].heard_until = 0.0
        await world.round(5)
        assert world.driver.live(world.one().id).missing == (str(FIRST),)
        world.streams[str(FIRST)].heard_until = float("inf")
        await world.round(1)
        assert world.phase() is Phase.BAKING
        await world.round(9.9)
        assert world.having("7s") == {FIRST}
        await world.round(0.2)
        assert world.having("7s") == {*WEBS[:2]}
        for _ in range(2):
            await world.round(1)
            await world.round(11)
        assert world.phase() is Phase.COMPLETED
        assert world.having("7s") == {*WEBS}
        await world.round()
        assert world.watched() == set(), "nobody has to say anything any more"
        assert not world.book.holding()
        assert world.told[0] == "rollout begun"
        assert world.told[-1] == "rollout completed"


async def test_a_refusal_withdraws_it_and_it_is_put_back_once_the_store_is_there(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)
        others = Refusal("1", "1", ("x",), "not ours", 0.0, ("a.yaml#1 RetryPolicy default/other",))
        ours = Refusal("1", "1", ("x",), "unknown filter", 0.0, ("a.yaml#1 TimeoutPolicy default/api",))
        world.driver.refused(str(FIRST), others)
        world.driver.refused(str(WEBS[-1]), ours)
        await world.round(1)
        assert not world.one().state.over
        world.away = True
        world.driver.refused(str(FIRST), ours)
        await world.round(1)
        assert world.phase() is Phase.WITHDRAWN
        assert f"{FIRST} refused it: unknown filter" in world.one().state.reason
        assert world.having("7s") == set()
        await world.round(1)
        assert "the store is away" in world.driver.live(world.one().id).words
        world.away = False
        await world.round(1)
        assert not world.undone
        await world.round(RETRY)
        assert world.undone == [world.one().id]
        assert world.one().undone == "put back"
        await world.round(RETRY)
        assert len(world.undone) == 1
        # The source says what was before: nobody is given anything else any more.
        world.say(SourceUpdate("files", removed_declared=(("TimeoutPolicy", a_key("api")),)))
        assert not world.book.holding()
        assert world.phase() is Phase.WITHDRAWN


async def test_a_refusal_looks_at_who_refused_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)

        def everybody() -> list[Member]:
            raise AssertionError("all proxies are looked at")

        monkeypatch.setattr(world.driver, "_clients", everybody)
        world.driver.refused(str(FIRST), Refusal("1", "1", ("x",), "unknown filter", 0.0, ()))
        world.driver.refused("gone/already", Refusal("1", "1", ("x",), "unknown filter", 0.0, ()))
        assert world.driver.live(world.one().id).refused


async def test_a_further_write_begins_anew_and_leaves_nobody_with_the_first(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)
        await world.driver.command(world.one().id, lambda now: Promote(now, "ann"))
        assert world.having("7s") == {*WEBS[:2]}
        world.now += 1
        world.say(SourceUpdate("files", declared=(a_timeout("9s"),)))
        await world.pipeline.settled()
        assert world.having("7s") == set()
        await world.round()
        assert world.having("9s") == {FIRST}
        second, first = world.book.all()
        assert (first.state.phase, second.state.stage) == (Phase.ENDED, 0)


async def test_a_restart_goes_on_where_it_was_and_gives_nobody_more(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)
        await world.driver.command(world.one().id, lambda now: Promote(now, "ann"))
        await world.book.kept()
        known = world.one().id
    async with a_world(tmp_path) as world:
        # The last good state was from before the change: it comes when the source speaks.
        world.say(SourceUpdate("files", declared=(a_timeout("7s"),)))
        await world.pipeline.settled()
        assert world.having("7s") == {*WEBS[:2]}
        await world.round()
        assert (world.one().id, world.one().state.stage) == (known, 1)
        assert len(world.book.all()) == 1
        await world.driver.command(known, lambda now: Abort(now, "ann", "enough"))
        assert world.having("7s") == set()


async def test_a_restart_knows_what_was_through_though_the_last_good_state_does_not(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)
        for _ in range(3):
            await world.driver.command(world.one().id, lambda now: Promote(now, "ann"))
        assert world.phase() is Phase.COMPLETED
        await world.book.kept()
    async with a_world(tmp_path) as world:  # begins with the last good state from before it
        world.say(SourceUpdate("files", declared=(a_timeout("7s"),)))
        await world.pipeline.settled()
        assert world.having("7s") == {*WEBS}
        assert len(world.book.all()) == 1
    async with a_world(tmp_path) as world:
        world.say(SourceUpdate("files", declared=(a_timeout("9s"),)))
        await world.pipeline.settled()
        assert world.having("7s") == {*WEBS}, "that was what all had, not nothing"
        await world.round()
        assert world.having("9s") == {FIRST}


async def test_what_was_asked_for_is_known_after_a_restart(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.book.ask(frozenset({("TimeoutPolicy", a_key("api"))}), Plan((Stage(1, share=50),)), "ann")
    async with a_world(tmp_path) as world:
        world.say(SourceUpdate("files", declared=(a_timeout("7s"),)))
        assert world.one().by == "ann"


async def test_what_one_control_plane_was_asked_for_all_over_its_store_do(tmp_path: Path) -> None:
    names, plan = frozenset({("TimeoutPolicy", a_key("api"))}), Plan((Stage(1, share=50),))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    store = await SqliteBackend.open(tmp_path / "store.db")
    async with a_world(here, store) as one, a_world(there, store) as other:
        await (await one.book.ask(names, plan, "nobody: nothing is written"))()
        await one.book.ask(names, plan, "ann")
        for each in (one, other):
            await each.book.hear()
            await each.book.hear()
            each.say(SourceUpdate("files", declared=(a_timeout("7s"),)))
            (rollout,) = each.book.all()
            assert (rollout.by, rollout.plan) == ("ann", plan)
            each.now += 1
            # It was said of one write: the next goes out as policies say.
            await each.book.hear()
            each.say(SourceUpdate("files", declared=(a_timeout("9s"),)))
            assert each.one().by != "ann"
        await other.book.kept()
    async with a_world(there, store) as other:
        other.book.put(replace(other.one(), ended=other.now))
        await other.book.hear()
        other.say(SourceUpdate("files", declared=(a_timeout("8s"),)))
        assert {each.by for each in other.book.all() if each.holding} == {"RolloutPolicy default/all"}
    await store.close()


async def test_a_full_disk_stops_nothing_and_is_tried_again(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        world.records.full = True
        await begun(world)
        assert world.book.failing == "No space left on device"
        world.records.full = False
        world.book.keep_again()
        await world.book.kept()
        assert not world.book.failing
        assert len(FileRecords(tmp_path).load().rollouts) == 1


async def test_proxies_that_were_there_before_a_restart_are_waited_for(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)
        await world.round(1)
    async with a_world(tmp_path) as world:
        world.say(SourceUpdate("files", declared=(a_timeout("7s"),)))
        world.pipeline.detach(str(FIRST))
        await world.round(1)
        assert world.driver.live(world.one().id).missing == ("1 that have not come back yet",)
        await world.round(40)
        assert world.phase() is Phase.BAKING


async def test_what_operators_cannot_do(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        with pytest.raises(NoSuchRollout):
            await world.driver.command("00000000", lambda now: Promote(now, "ann"))
        await begun(world)
        await world.driver.command(world.one().id, lambda now: Abort(now, "ann"))
        with pytest.raises(RolloutIsOver):
            await world.driver.command(world.one().id, lambda now: Promote(now, "ann"))


async def test_one_that_cannot_be_driven_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(tmp_path) as world:
        await begun(world)

        def broken(_: str) -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(world.driver.watching, "judge", broken)
        await world.round(1)
        assert "a fault of ours; abort it" in world.driver.live(world.one().id).words
        assert world.having("7s") == {FIRST}
