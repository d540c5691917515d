"""All rollouts of a control plane: begun by what sources say, driven by what proxies acknowledge and log, and kept over restarts.

Who is not to have a change yet is given the edition of the mesh in which its documents say what they said before (`meshwright/editions.py`).
What is decided is on the disk before any proxy is told of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from api.rolling import NoSuchRollout, RolloutIsOver
from mesh.events import DocumentName, Event, SourceSnapshot
from mesh.names import Key
from mesh.rollout import Plan, RolloutPolicy
from mesh.state import MeshState
from meshwright.editions import NOTHING, Instead, Member, Overlay
from meshwright.rollout import machine
from meshwright.rollout.changes import changed, settle
from meshwright.rollout.keeping import Records, shortened
from meshwright.rollout.machine import Action, Admit, Complete, Looked, Phase, Restarted, Tell, Withdraw
from meshwright.rollout.reach import Concerned, concerned, has, thresholds
from meshwright.rollout.record import Asked, Rollout
from meshwright.rollout.undo import Undo
from meshwright.rollout.watching import LEAST, Watching, some
from store.errors import StoreError
from xds.state import Refusal

EVERY: Final = 0.5
"""Seconds between two looks at a rollout."""
ANEW: Final = 5.0
"""Seconds after which it is reckoned again whom a rollout concerns, if the mesh has changed."""
ASKED_FOR: Final = 300.0
"""Seconds within which a write that was asked to go out by stages must have come."""
COMING_BACK: Final = 30.0
"""Seconds after a restart for which the proxies of a stage are waited for that were there before."""
PIECE: Final = 500
"""Proxies that are looked at before other work of the loop gets its turn."""
RETRY: Final = 10.0
"""Seconds after what a full disk or an absent store refused."""
POLICY: Final = "RolloutPolicy"

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


class Tells(Protocol):
    """A line of the audit log."""

    def __call__(self, event: str, fields: Mapping[str, str | int | float | list[str] | None]) -> None: ...


@dataclass(slots=True)
class _Live:
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


class Rollouts:
    """An `Overlayer`. `clock` is seconds since the epoch, `monotonic` that of the streams. Used from one event loop."""

    def __init__(
        self,
        mesh: Mesh,
        clients: Callable[[], Iterable[Member]],
        streams: Streams,
        records: Records,
        watching: Watching,
        undo: Undo,
        tells: Tells,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._mesh = mesh
        self._clients = clients
        self._streams = streams
        self._records = records
        self.watching = watching
        self._undo = undo
        self._tells = tells
        self._clock = clock
        self._monotonic = monotonic
        self._all: dict[str, Rollout] = {}
        self._live: dict[str, _Live] = {}
        self._policies: dict[Key, RolloutPolicy] = {}
        self._asked: list[Asked] = []
        self._undoing = ""
        self._overlays: dict[tuple[str, ...], Overlay] = {}
        self._moved = False
        self._unsaved = False
        self._failing = ""
        self._saving = asyncio.Lock()
        self._driving = asyncio.Lock()
        self._woken = asyncio.Event()
        self._phases = Gauge(
            "meshwright_rollouts", "Staged rollouts that are on, by phase.", ["phase"], registry=registry
        )
        self._ended = Counter(
            "meshwright_rollouts_ended_total",
            "Staged rollouts that are over, by how they ended.",
            ["outcome"],
            registry=registry,
        )

    # What clients are given

    def overlay(self, member: Member, below: Overlay) -> Overlay:
        del below
        lacking = tuple(
            each.id
            for each in self._all.values()
            if each.holding and not has(each, member.workload, member.declared)
        )
        if not lacking:
            return NOTHING
        found = self._overlays.get(lacking)
        if found is None:
            instead: dict[tuple[str, Key], Instead] = {}
            for name in lacking:
                instead |= {each.name: each.instead for each in self._all[name].documents}
            found = self._overlays[lacking] = Overlay.of(instead)
        return found

    # What sources say

    def before(self, state: MeshState, event: Event) -> None:
        """`event` is about to be applied to `state`: what of it goes out by stages, nobody has before `after` is called."""
        self._follow(event)
        if not self._policies and not self._asked and not any(each.holding for each in self._all.values()):
            return
        documents = changed(state, event)
        if not documents:
            return
        now = self._clock()
        going = [each for each in self._all.values() if each.holding]
        settled = settle(state, documents, going, self._policies.values(), self._asked, now, self._undoing)
        for each in settled.kept:
            self._put(each)
        for name, why in settled.ended.items():
            self._end(self._all[name], Phase.ENDED, why)
        self._asked = [
            each
            for each in self._asked
            if each.names.isdisjoint(of.name for of in documents) and now - each.at < ASKED_FOR
        ]
        for each in settled.new:
            self._put(each.tell(now, f"begun by {each.by}: {each.plan}"))
            self._live[each.id] = _Live()
            log.info(
                "rollout begun",
                rollout=each.id,
                documents=[str(of) for of in each.documents],
                stages=str(each.plan),
                by=each.by,
            )
            self._tells(
                "rollout begun",
                {
                    "rollout": each.id,
                    "documents": [str(of) for of in each.documents],
                    "stages": str(each.plan),
                    "by": each.by,
                },
            )

    def after(self) -> None:
        """The event was applied; nothing of it is published before this returns."""
        if self._moved:
            self._moved = False
            self._mesh.reassign()
            self._woken.set()

    def _follow(self, event: Event) -> None:
        """Which policies there are."""
        for each in getattr(event, "declared", ()):
            if isinstance(each.value, RolloutPolicy):
                self._policies[each.value.key] = each.value
        for kind, key in getattr(event, "removed_declared", ()):
            if kind == POLICY:
                self._policies.pop(key, None)
        if isinstance(event, SourceSnapshot):
            said = {each.name[1] for each in event.declared if each.kind == POLICY}
            others = {
                name[1]
                for of, view in self._mesh.state.sources.items()
                if of != event.source
                for name in view.declared
                if name[0] == POLICY
            }
            self._policies = {key: each for key, each in self._policies.items() if key in said | others}

    async def ask(self, names: frozenset[DocumentName], plan: Plan, by: str) -> Callable[[], None]:
        """A write of documents of these names is about to be made: they are to go out by `plan`. It is kept when this returns, so that a
        control plane that is killed right after the write knows of it. Call what this returns if nothing was written.
        """
        asked = Asked(names, plan, by, self._clock())
        self._asked.append(asked)
        self._unsaved = True
        await self.kept()

        def forget() -> None:
            self._asked = [each for each in self._asked if each is not asked]
            self._unsaved = True

        return forget

    def refused(self, client: str, refusal: Refusal) -> None:
        """A proxy has refused something."""
        for rollout in self._going():
            member = next((each for each in self._clients() if each.client == client), None)
            if (
                member is None
                or rollout.thresholds is None
                or not has(rollout, member.workload, member.declared)
            ):
                continue
            if refusal.origin and not any(_names(origin, rollout) for origin in refusal.origin):
                continue
            live = self._live[rollout.id]
            live.refused = live.refused or f"{client} refused it: {refusal.message[:500]}"
            self._woken.set()

    # What an operator says

    def all(self) -> tuple[Rollout, ...]:
        """The newest first."""
        return tuple(sorted(self._all.values(), key=lambda each: -each.started))

    def one(self, name: str) -> Rollout:
        """NoSuchRollout if there is none."""
        try:
            return self._all[name]
        except KeyError:
            raise NoSuchRollout(
                f"there is no rollout {name!r}: `meshwright rollout list` names them"
            ) from None

    def live(self, name: str) -> tuple[int, int, tuple[str, ...], str]:
        """Of one that is on: how many proxies it concerns, how many of them have it, who has not acknowledged it, and how it does."""
        found = self._live.get(name, _Live())
        return len(found.concerned.everybody), found.having, found.missing, found.words

    async def command(self, name: str, event: Callable[[float], machine.Event]) -> Rollout:
        """Do at once what an operator says. NoSuchRollout, RolloutIsOver."""
        async with self._driving:
            if self.one(name).state.over or not self.one(name).holding:
                raise RolloutIsOver(f"rollout {name} is over: {self.one(name).state.phase}")
            if self.one(name).thresholds is None:
                await self._begin(name)
            await self._advance(name, event(self._monotonic()))
        self._woken.set()
        return self.one(name)

    # The driver

    def load(self) -> None:
        """Go on with what was on when the program ended. Blocks; before anything is published."""
        rollouts, asked = self._records.load()
        self._asked += asked
        for each in rollouts:
            self._all[each.id] = each
            if not each.holding:
                continue
            now = self._monotonic()
            self._live[each.id] = _Live(
                undo_at=now if each.state.over and not each.undone else None,
                back_by=now + min(COMING_BACK, each.plan.acknowledgements / 2),
            )
            if not each.state.over:
                state, _ = machine.advance(each.plan, each.state, Restarted(self._monotonic()))
                words = "the control plane has started again: the stage begins anew"
                self._all[each.id] = replace(each, state=state).tell(self._clock(), words)
                log.info("rollout goes on", rollout=each.id, stage=each.state.stage + 1)

    async def kept(self) -> None:
        """Return when all that was decided is on the disk, or it is known that the disk does not take it."""
        if not self._unsaved:
            return
        async with self._saving:
            if self._unsaved:
                await self._save()

    async def _save(self) -> None:
        self._unsaved = False
        kept = shortened(self._all.values())
        self._all = {each.id: each for each in self._all.values() if each.holding or each in kept}
        try:
            await asyncio.to_thread(self._records.save, kept, tuple(self._asked))
        except OSError as error:
            why = f"{error.strerror or error}"
            if why != self._failing:
                log.warning("rollouts cannot be written: a restart would not know of them", reason=why)
            self._failing = why
            return
        self._failing = ""

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Drive what is on, until cancelled; once the mesh is `ready`, for before nobody can be told from nobody."""
        await ready()
        while True:
            self._woken.clear()
            async with self._driving:
                for name in [each.id for each in self._all.values() if each.holding]:
                    await self._step(name)
                self._tell_metrics()
                self._mesh.report(self.watching.proxies())
            if self._failing:
                self._unsaved = True
            await self.kept()
            busy = any(each.holding and not self._rests(each) for each in self._all.values())
            try:
                async with asyncio.timeout(EVERY if busy else None):
                    await self._woken.wait()
            except TimeoutError:
                pass  # which is what it waited for

    def _rests(self, rollout: Rollout) -> bool:
        """Whether nothing is to be done for it but hold back what was withdrawn."""
        return rollout.state.over and self._live[rollout.id].undo_at is None

    async def _step(self, name: str) -> None:
        rollout = self._all[name]
        if not rollout.holding:
            return  # it ended meanwhile
        if rollout.state.over:
            await self._undone(name)
        elif rollout.thresholds is None:
            await self._begin(name)
        else:
            live = self._live[name]
            if live.published is None:  # after a restart
                await self._advance(name, Restarted(self._monotonic()))
            await self._look(name)
            rollout = self._all.get(name, rollout)
            if rollout.holding and not rollout.state.over:
                judged = self.watching.judge(name)
                live.words = judged.words
                seen = Looked(self._monotonic(), live.missing, live.refused, judged.health, judged.words)
                await self._advance(name, seen)

    async def _begin(self, name: str) -> None:
        """Say which proxies each stage has, and let the first have it."""
        await self._reckon(name)
        rollout = self._all[name]
        if not rollout.holding:
            return  # it was replaced, or put back, meanwhile
        everybody = self._live[name].concerned.everybody
        state, actions = machine.begin(self._monotonic())
        self._put(replace(rollout, thresholds=thresholds(rollout.plan, everybody), state=state))
        await self._do(name, actions)

    async def _advance(self, name: str, event: machine.Event) -> None:
        rollout = self._all[name]
        state, actions = machine.advance(rollout.plan, rollout.state, event)
        if state != rollout.state:
            self._put(replace(rollout, state=state), moved=bool(actions))
        await self._do(name, actions)

    async def _do(self, name: str, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Admit(stage):
                    await self._admit(name, stage)
                case Withdraw(reason):
                    await self._withdraw(name, reason)
                case Complete():
                    self._end(self._all[name], Phase.COMPLETED, "")
                    await self._published()
                case Tell(words):
                    self._say(name, words)

    async def _admit(self, name: str, stage: int) -> None:
        rollout, live = self._all[name], self._live[name]
        self.watching.begin(name, rollout.plan.bounds)
        self.watching.next_stage(name)
        live.published, live.refused = None, ""
        await self._reckon(name)
        await self._watch(name)
        if not self._all[name].holding:
            return
        self._put(replace(self._all[name], having=max(live.having, self._all[name].having)), moved=False)
        self._say(name, f"stage {stage + 1} of {len(rollout.plan.stages)} ({rollout.plan.stages[stage]}): {live.having} of "
                        f"{len(live.concerned.everybody)} proxies concerned have it")  # fmt: skip
        await self._published()
        live.published = self._monotonic()
        self.watching.published(name, self._clock())

    async def _withdraw(self, name: str, reason: str) -> None:
        rollout, live = self._all[name], self._live[name]
        self.watching.end(name)
        live.missing, live.undo_at = (), 0.0
        self._put(rollout.tell(self._clock(), reason))
        log.warning(
            "rollout withdrawn", rollout=name, documents=[str(of) for of in rollout.documents], reason=reason
        )
        self._tells("rollout withdrawn", {"rollout": name, "reason": reason})
        self._ended.labels(Phase.WITHDRAWN.value).inc()
        await self._published()

    async def _undone(self, name: str) -> None:
        """Undo what was withdrawn where it is kept; try again later if that cannot be told or done now."""
        live = self._live[name]
        if live.undo_at is None or self._monotonic() < live.undo_at:
            return
        self._undoing = name
        try:
            said = await self._undo(self._all[name])
        except StoreError as error:
            if not live.words.startswith("not put back"):
                log.warning("what was withdrawn is not put back yet", rollout=name, reason=str(error))
            live.words = f"not put back yet, but no proxy has it: {error}"
            live.undo_at = self._monotonic() + RETRY
            return
        live.undo_at = None
        self._put(replace(self._all[name], undone=said), moved=False)
        if said:
            self._say(name, said)

    async def _published(self) -> None:
        """Everybody is given what is theirs now."""
        await self.kept()
        self._mesh.report(self.watching.proxies())
        self._mesh.reassign()
        self._moved = False
        await self._mesh.settled()

    # Looking

    async def _reckon(self, name: str) -> None:
        """Whom it concerns, if that may be others by now."""
        live, state, now = self._live[name], self._mesh.state, self._monotonic()
        if live.of_state is state or (live.of_state is not None and now - live.reckoned < ANEW):
            return
        live.of_state, live.reckoned = state, now
        live.concerned = await asyncio.to_thread(concerned, state, self._all[name].documents)

    async def _look(self, name: str) -> None:
        await self._reckon(name)
        if self._all[name].holding:
            await self._watch(name)

    async def _watch(self, name: str) -> None:
        """Who has it, who of them has not acknowledged it yet, and who is watched."""
        rollout, live = self._all[name], self._live[name]
        everybody = live.concerned.everybody
        having: set[Key] = set()
        others: set[Key] = set()
        missing = []
        for number, each in enumerate(self._clients()):
            if number % PIECE == PIECE - 1:
                await asyncio.sleep(0)
            if each.proxyless or each.workload not in everybody:
                continue
            if not has(rollout, each.workload, each.declared):
                others.add(each.workload)
                continue
            having.add(each.workload)
            since = live.published
            if since is None or not all(
                stream.heard(since) for stream in self._streams.streams_of(each.client)
            ):
                missing.append(each.client)
        if live.back_by is not None:
            away = rollout.having - len(having)
            if away > 0 and self._monotonic() < live.back_by:
                missing.append(f"{away} that have not come back yet")
            else:
                live.back_by = None
        live.missing, live.having = tuple(sorted(missing)), len(having)
        callers = self._callers(live.concerned, everybody)
        most = max(LEAST, len(having))
        if name in self.watching:
            self.watching.look(name, live.concerned, some(having), some(others, most) | some(callers, most))

    def _callers(self, of: Concerned, everybody: frozenset[Key]) -> set[Key]:
        """Those that may call where a change is enforced by who is called, and so see what becomes of it."""
        if not of.callees:
            return set()
        return {
            each.workload for each in self._clients() if not each.proxyless and each.workload not in everybody
        }

    # Bookkeeping

    def _going(self) -> list[Rollout]:
        return [each for each in self._all.values() if each.holding and not each.state.over]

    def _put(self, rollout: Rollout, *, moved: bool = True) -> None:
        self._all[rollout.id] = rollout
        self._unsaved = True
        if moved:
            self._moved = True
            self._overlays.clear()

    def _end(self, rollout: Rollout, phase: Phase, why: str) -> None:
        """All sources say now what everybody is given."""
        state = rollout.state
        if not state.over:
            state = replace(state, phase=phase, reason=why)
            self._ended.labels(phase.value).inc()
        now = self._clock()
        words = why or "completed: everybody has it"
        self.watching.end(rollout.id)
        self._live.pop(rollout.id, None)
        self._put(replace(rollout, state=state, ended=now).tell(now, words))
        if phase is Phase.COMPLETED:
            log.info("rollout completed", rollout=rollout.id)
            self._tells("rollout completed", {"rollout": rollout.id})
        else:
            log.info("rollout ended", rollout=rollout.id, reason=why)
            self._tells("rollout ended", {"rollout": rollout.id, "reason": why})

    def _say(self, name: str, words: str) -> None:
        self._put(self._all[name].tell(self._clock(), words), moved=False)
        log.info("rollout", rollout=name, said=words)
        self._tells("rollout", {"rollout": name, "said": words})

    def _tell_metrics(self) -> None:
        for phase in Phase:
            count = sum(1 for each in self._all.values() if each.holding and each.state.phase is phase)
            self._phases.labels(phase.value).set(count)


def _names(origin: str, rollout: Rollout) -> bool:
    return any(origin.endswith(f" {each}") for each in rollout.documents)
