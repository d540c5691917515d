"""Drives rollouts: lets proxies have a change, looks what they acknowledge, refuse and log, and does what the machine decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import structlog

from api.rolling import RolloutIsOver
from mesh.events import Event
from mesh.names import Key
from mesh.state import MeshState
from meshwright.editions import Member
from meshwright.rollout import machine
from meshwright.rollout.book import Book
from meshwright.rollout.machine import Action, Admit, Complete, Looked, Phase, Restarted, Tell, Withdraw
from meshwright.rollout.reach import Concerned, concerned, has, thresholds
from meshwright.rollout.record import Rollout
from meshwright.rollout.undo import Undo
from meshwright.rollout.watching import LEAST, Watching, some
from store.errors import StoreError
from xds.state import Refusal

EVERY: Final = 0.5
"""Seconds between two looks at a rollout."""
ANEW: Final = 5.0
"""Seconds after which it is reckoned again whom a rollout concerns, if the mesh has changed."""
COMING_BACK: Final = 30.0
"""Seconds after a restart for which the proxies of a stage are waited for that were there before."""
PIECE: Final = 500
"""Proxies that are looked at before other work of the loop gets its turn."""
RETRY: Final = 10.0
"""Seconds after what a full disk or an absent store refused."""

log = structlog.get_logger(__name__)


class Stream(Protocol):
    def heard(self, since: float, type_url: str | None = None) -> bool: ...


class Streams(Protocol):
    def streams_of(self, client: str) -> Iterable[Stream]: ...


class Mesh(Protocol):
    """What a rollout moves: `meshwright.pipeline.Pipeline`."""

    state: MeshState

    def reassign(self, clients: Iterable[str] | None = None) -> None: ...
    def report(self, workloads: frozenset[Key]) -> None: ...
    async def settled(self) -> None: ...


@dataclass(slots=True)
class Live:
    """What is known of a rollout only while the program runs. `published`: when the last thing that its stage was given had been published, of
    the streams' clock; None: not yet. `undo_at`: when what was withdrawn is to be undone; `back_by`: until when proxies are waited for
    that have not come back after a restart.
    """

    published: float | None = None
    concerned: Concerned = field(default_factory=Concerned)
    of_state: MeshState | None = None
    reckoned: float = 0.0
    refused: str = ""
    missing: tuple[str, ...] = ()
    having: int = 0
    words: str = ""
    undo_at: float | None = None
    back_by: float | None = None


class Driver:
    """`member`: one of `clients`, KeyError if it has gone. `clock` is seconds since the epoch, `monotonic` that of the streams. Used from one event
    loop.
    """

    def __init__(
        self,
        book: Book,
        mesh: Mesh,
        clients: Callable[[], Iterable[Member]],
        streams: Streams,
        watching: Watching,
        undo: Undo,
        *,
        member: Callable[[str], Member],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.book = book
        self.watching = watching
        self._mesh = mesh
        self._clients = clients
        self._streams = streams
        self._undo = undo
        self._member = member
        self._clock = clock
        self._monotonic = monotonic
        self._live: dict[str, Live] = {}
        self._driving = asyncio.Lock()
        self._woken = asyncio.Event()

    def live(self, name: str) -> Live:
        return self._live.get(name) or Live()

    # What the program says

    def resume(self) -> None:
        """Go on with what was on when the program ended, of which the book knows by now."""
        now = self._monotonic()
        for each in self.book.holding():
            live = self._live[each.id] = Live(back_by=now + min(COMING_BACK, each.plan.acknowledgements / 2))
            if each.state.over:
                live.undo_at = None if each.undone else now
                continue
            state, _ = machine.advance(each.plan, each.state, Restarted(now))
            self.book.put(replace(each, state=state))
            self.book.say(each.id, "the control plane has started again: the stage begins anew")

    def before(self, state: MeshState, event: Event) -> None:
        """`event` is about to be applied to `state`."""
        self.book.before(state, event)

    def after(self) -> None:
        """The event was applied; nothing of it is published before this returns."""
        if self.book.moved:
            self.book.moved = False
            self._mesh.reassign()
            self._woken.set()

    def refused(self, client: str, refusal: Refusal) -> None:
        """A proxy has refused something."""
        going = [each for each in self.book.holding() if not each.state.over and each.thresholds is not None]
        if not going:
            return
        try:
            member = self._member(client)
        except KeyError:
            return  # it has gone meanwhile
        for rollout in going:
            if not has(rollout, member.workload, member.declared):
                continue
            if refusal.origin and not any(_names(origin, rollout) for origin in refusal.origin):
                continue
            live = self.live(rollout.id)
            live.refused = live.refused or f"{client} refused it: {refusal.message[:500]}"
            self._woken.set()

    async def command(self, name: str, event: Callable[[float], machine.Event]) -> Rollout:
        """Do at once what an operator says. NoSuchRollout, RolloutIsOver."""
        async with self._driving:
            rollout = self.book.one(name)
            if rollout.state.over or not rollout.holding:
                raise RolloutIsOver(f"rollout {name} is over: {rollout.state.phase}")
            self._live.setdefault(name, Live())
            if rollout.thresholds is None:
                await self._begin(name)
            await self._advance(name, event(self._monotonic()))
        self._woken.set()
        return self.book.one(name)

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Drive what is on, until cancelled; once the mesh is `ready`, for before nobody can be told from nobody."""
        await ready()
        while True:
            self._woken.clear()
            async with self._driving:
                await self.round()
            self.book.keep_again()
            await self.book.kept()
            busy = any(not self._rests(each) for each in self.book.holding())
            try:
                async with asyncio.timeout(EVERY if busy else None):
                    await self._woken.wait()
            except TimeoutError:
                pass  # which is what it waited for

    # One round

    async def round(self) -> None:
        """Look at each rollout, and do what is to be done: what `run` does from time to time."""
        for each in self.book.holding():
            live = self._live.setdefault(each.id, Live())
            try:
                await self._step(each.id)
            except Exception as error:
                # One that cannot be driven stays where it is, and ends neither the others nor the program.
                live.words = f"it cannot go on: {type(error).__name__}: {error}; abort it"
                log.exception("rollout cannot go on", rollout=each.id)
        on = {each.id for each in self.book.holding() if not each.state.over}
        for name in self._live.keys() - on:
            self.watching.end(name)
        holding = {each.id for each in self.book.holding()}
        self._live = {name: each for name, each in self._live.items() if name in holding}
        self._mesh.report(self.watching.proxies())
        self.book.refresh_metrics()

    def _rests(self, rollout: Rollout) -> bool:
        """Whether nothing is to be done for it but hold back what was withdrawn."""
        return rollout.state.over and self.live(rollout.id).undo_at is None

    async def _step(self, name: str) -> None:
        """Sources may speak, and end it, wherever this waits."""
        rollout, live = self.book.one(name), self._live[name]
        if not rollout.holding:
            return
        if rollout.state.over:
            await self._put_back(name, live)
        elif rollout.thresholds is None:
            await self._begin(name)
        else:
            if live.published is None:  # after a restart
                await self._advance(name, Restarted(self._monotonic()))
            await self._reckon(name, live)
            await self._watch(name, live)
            if self._is_on(name):
                judged = self.watching.judge(name)
                live.words = judged.words
                seen = Looked(self._monotonic(), live.missing, live.refused, judged.health, judged.words)
                await self._advance(name, seen)

    def _is_on(self, name: str) -> bool:
        rollout = self.book.one(name)
        return rollout.holding and not rollout.state.over

    async def _begin(self, name: str) -> None:
        """Say which proxies each stage has, and let the first have it."""
        live = self._live.setdefault(name, Live())
        await self._reckon(name, live)
        rollout = self.book.one(name)
        if rollout.holding:
            state, actions = machine.begin(self._monotonic())
            found = thresholds(rollout.plan, live.concerned.everybody)
            self.book.put(replace(rollout, thresholds=found, state=state))
            await self._do(name, actions)

    async def _advance(self, name: str, event: machine.Event) -> None:
        rollout = self.book.one(name)
        state, actions = machine.advance(rollout.plan, rollout.state, event)
        if state != rollout.state:
            self.book.put(replace(rollout, state=state), moved=bool(actions))
        await self._do(name, actions)

    async def _do(self, name: str, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Admit(stage):
                    await self._admit(name, stage)
                case Withdraw(reason):
                    self._live[name].missing, self._live[name].undo_at = (), self._monotonic()
                    self.book.withdrawn(name, reason)
                    self.watching.end(name)
                    await self._publish()
                case Complete():
                    self.book.end(self.book.one(name), Phase.COMPLETED, "")
                    self.watching.end(name)
                    await self._publish()
                case Tell(words):
                    self.book.say(name, words)

    async def _admit(self, name: str, stage: int) -> None:
        live, plan = self._live[name], self.book.one(name).plan
        self.watching.begin(name, plan.bounds)
        self.watching.next_stage(name)
        live.published, live.refused = None, ""
        await self._reckon(name, live)
        await self._watch(name, live)
        if not self._is_on(name):
            return
        rollout = self.book.one(name)
        self.book.put(replace(rollout, having=max(live.having, rollout.having)), moved=False)
        of = f"{live.having} of {len(live.concerned.everybody)} proxies concerned have it"
        self.book.say(name, f"stage {stage + 1} of {len(plan.stages)} ({plan.stages[stage]}): {of}")
        await self._publish()
        live.published = self._monotonic()
        self.watching.published(name, self._clock())

    async def _publish(self) -> None:
        """Everybody is given what is theirs now."""
        await self.book.kept()
        self._mesh.report(self.watching.proxies())
        self.book.moved = False
        self._mesh.reassign()
        await self._mesh.settled()

    async def _put_back(self, name: str, live: Live) -> None:
        """Undo what was withdrawn where it is kept; try again later if that cannot be told or done now."""
        if live.undo_at is None or self._monotonic() < live.undo_at:
            return
        self.book.undoing = name
        try:
            said = await self._undo(self.book.one(name))
        except StoreError as error:
            why = f"not put back yet, but no proxy has it: {error}"
            if live.words != why:
                log.warning("what was withdrawn is not put back yet", rollout=name, reason=str(error))
            live.words, live.undo_at = why, self._monotonic() + RETRY
            return
        live.undo_at = None
        self.book.put(replace(self.book.one(name), undone=said), moved=False)
        self.book.say(name, said)

    # Looking

    async def _reckon(self, name: str, live: Live) -> None:
        """Whom it concerns, if that may be others by now."""
        state, now = self._mesh.state, self._monotonic()
        if live.of_state is state or (live.of_state is not None and now - live.reckoned < ANEW):
            return
        live.of_state, live.reckoned = state, now
        live.concerned = await asyncio.to_thread(concerned, state, self.book.one(name).documents)

    async def _watch(self, name: str, live: Live) -> None:
        """Who has it, who of them has not acknowledged it yet, and who is watched."""
        rollout, everybody = self.book.one(name), live.concerned.everybody
        having: set[Key] = set()
        others: set[Key] = set()
        callers: set[Key] = set()
        missing: list[str] = []
        for number, each in enumerate(self._clients()):
            if number % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            if each.proxyless:
                continue
            if each.workload not in everybody:
                callers.add(each.workload)
            elif not has(rollout, each.workload, each.declared):
                others.add(each.workload)
            else:
                having.add(each.workload)
                if not self._has_heard(each.client, live.published):
                    missing.append(each.client)
        missing += self._away(rollout, live, len(having))
        live.missing, live.having = tuple(sorted(missing)), len(having)
        if name in self.watching:
            most = max(LEAST, len(having))
            # Where a change is enforced by who is called, callers see what becomes of it.
            besides = some(callers, most) if live.concerned.callees else frozenset[Key]()
            self.watching.look(name, live.concerned, some(having), some(others, most) | besides)

    def _has_heard(self, client: str, since: float | None) -> bool:
        return since is not None and all(stream.heard(since) for stream in self._streams.streams_of(client))

    def _away(self, rollout: Rollout, live: Live, having: int) -> Iterable[str]:
        """Those that were there before a restart, and are not yet again."""
        if live.back_by is None:
            return
        away = rollout.having - having
        if away > 0 and self._monotonic() < live.back_by:
            yield f"{away} that have not come back yet"
        else:
            live.back_by = None


def _names(origin: str, rollout: Rollout) -> bool:
    return any(origin.endswith(f" {each}") for each in rollout.documents)
