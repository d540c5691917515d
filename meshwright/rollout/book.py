"""All rollouts of a control plane: begun and ended by what sources say, kept over restarts, and what each proxy is given by them.

Who is not to have a change yet is given the edition of the mesh in which its documents say what they said before (`meshwright/editions.py`).
What is decided is on the disk before any proxy is told of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from api.rolling import NoSuchRollout
from mesh.events import DocumentName, Event, SourceSnapshot
from mesh.names import Key
from mesh.rollout import Plan, RolloutPolicy
from mesh.state import MeshState
from meshwright.editions import NOTHING, Instead, Member, Overlay
from meshwright.rollout.announcing import Announcements
from meshwright.rollout.changes import changed, settle
from meshwright.rollout.keeping import FILE as KEEPING
from meshwright.rollout.keeping import Records, shortened
from meshwright.rollout.machine import Phase
from meshwright.rollout.reach import has
from meshwright.rollout.record import Asked, Kept, Rollout, Staged, Version
from store.backend import Backend

ASKED_FOR: Final = 300.0
"""Seconds within which a write that was asked to go out by stages must have come."""
SETTLED: Final = 5_000
"""Documents of which it is remembered what everybody was given last: those that went out by stages last."""
POLICY: Final = "RolloutPolicy"

log = structlog.get_logger(__name__)


class Tells(Protocol):
    """A line of the audit log."""

    def __call__(self, event: str, fields: Mapping[str, str | int | float | list[str] | None]) -> None: ...


class Book:
    """An `Overlayer`. `clock` is seconds since the epoch. Used from one event loop."""

    def __init__(
        self,
        records: Records,
        tells: Tells,
        registry: CollectorRegistry,
        clock: Callable[[], float],
        shared: Backend | None = None,
    ) -> None:
        """`shared`: the store, where other control planes may be over it."""
        self._records = records
        self._announcements = Announcements(shared, ASKED_FOR)
        self._tells = tells
        self._clock = clock
        self._all: dict[str, Rollout] = {}
        self._policies: dict[Key, RolloutPolicy] = {}
        self._asked: list[Asked] = []
        self._settled: dict[DocumentName, Version] = {}
        self._overlays: dict[tuple[str, ...], Overlay] = {}
        self._unsaved = False
        self._saving = asyncio.Lock()
        self._in_force: tuple[str, ...] = ()
        self.failing = ""
        # Whether somebody may have to be given something else since this was last made false.
        self.moved = False
        # The rollout that is being undone where its documents are kept.
        self.undoing = ""
        self._phases = Gauge(
            "meshwright_rollouts", "Staged rollouts that are on, by phase.", ["phase"], registry=registry
        )
        self._ended = Counter(
            "meshwright_rollouts_ended_total",
            "Staged rollouts that are over, by how they ended.",
            ["outcome"],
            registry=registry,
        )

    # Reading

    def all(self) -> tuple[Rollout, ...]:
        """The newest first."""
        return tuple(sorted(self._all.values(), key=lambda each: -each.started))

    def one(self, name: str) -> Rollout:
        """NoSuchRollout."""
        try:
            return self._all[name]
        except KeyError:
            raise NoSuchRollout(
                f"there is no rollout {name!r}: `meshwright rollout list` names them"
            ) from None

    def holding(self) -> list[Rollout]:
        """Those by which somebody may be given something else than all sources say: all that are on, and withdrawn ones that are not undone."""
        return [each for each in self._all.values() if each.holding]

    def of(self, name: DocumentName) -> str | None:
        """What the status of a document says, where not everybody is given what it says."""
        for each in self.holding():
            if name in each.names:
                stage = f"stage {each.state.stage + 1} of {len(each.plan.stages)} ({each.plan.stages[each.state.stage]})"
                where = each.state.reason or f"{each.state.phase} at {stage}"
                return f"{each.id}: {where}; see `meshwright rollout status {each.id}`"
        return None

    def problems(self) -> dict[str, str]:
        """What was withdrawn, and is in force nowhere though its document says it, by document; and what a restart could not hold back."""
        unread = {KEEPING: f"in force for everybody: {'; '.join(self._in_force)}"} if self._in_force else {}
        return unread | {
            str(of): f"it is in force nowhere: {each.state.reason} (rollout {each.id})"
            for each in self.holding()
            if each.state.over
            for of in each.documents
        }

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
            instead: dict[DocumentName, Instead] = {}
            for name in lacking:
                instead |= {each.name: each.instead for each in self._all[name].documents}
            found = self._overlays[lacking] = Overlay.of(instead)
        return found

    # What sources say

    def before(self, state: MeshState, event: Event) -> None:
        """`event` is about to be applied to `state`: what of it goes out by stages, nobody has once this returns."""
        self._follow(state, event)
        going = self.holding()
        if not self._policies and not self._asked and not going and not self._settled:
            return
        documents = [
            staged for of in changed(state, event) if (staged := self._as_settled(of, going)) is not None
        ]
        if not documents:
            return
        now = self._clock()
        settled = settle(state, documents, going, self._policies.values(), self._asked, now, self.undoing)
        for each in settled.kept:
            self.put(each)
        on_their_way = {name for of in (*settled.new, *settled.kept) for name in of.names}
        for one in documents:
            if one.name in self._settled and one.name not in on_their_way:
                self._settled[one.name] = one.after
        for name, why in settled.ended.items():
            self.end(self._all[name], Phase.ENDED, why)
        self._asked = [
            each
            for each in self._asked
            if each.names.isdisjoint(of.name for of in documents) and now - each.at < ASKED_FOR
        ]
        for each in settled.new:
            self.put(each.tell(now, f"begun by {each.by}: {each.plan}"))
            told: dict[str, str | int | float | list[str] | None] = {
                "rollout": each.id,
                "documents": [str(of) for of in each.documents],
                "stages": str(each.plan),
                "by": each.by,
            }
            log.info("rollout begun", **told)
            self._tells("rollout begun", told)

    def _as_settled(self, each: Staged, going: Iterable[Rollout]) -> Staged | None:
        """`each`, from what everybody was given last; None where that is what it says now.

        After a restart, the last good state of its source may be from before a rollout that is over.
        """
        last = self._settled.get(each.name)
        if last is None or any(each.name in of.names for of in going) or last.value == each.before.value:
            return each
        return None if last.value == each.after.value else replace(each, before=last)

    def _follow(self, state: MeshState, event: Event) -> None:
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
                for of, view in state.sources.items()
                if of != event.source
                for name in view.declared
                if name[0] == POLICY
            }
            self._policies = {key: each for key, each in self._policies.items() if key in said | others}

    async def ask(self, names: frozenset[DocumentName], plan: Plan, by: str) -> Callable[[], Awaitable[None]]:
        """A write of documents of these names is about to be made: they are to go out by `plan`. It is kept when this returns, so that a
        control plane that is killed right after the write knows of it, and told to the others over the store. Await what this returns if
        nothing was written. ValueError if there are too many; StoreError.
        """
        asked = Asked(names, plan, by, self._clock())
        key = await self._announcements.tell(asked)
        self._asked.append(asked)
        self._unsaved = True
        await self.kept()

        async def forget() -> None:
            self._asked = [each for each in self._asked if each is not asked]
            self._unsaved = True
            await self._announcements.take_back(key)

        return forget

    async def hear(self) -> None:
        """A revision of the store is about to be told of: know before, how other control planes were asked to let it go out."""
        for each in await self._announcements.heard():
            # What began by it, before this one started again, is not begun once more.
            if any(each.at <= of.started and each.names & of.names for of in self._all.values()):
                continue
            self._asked.append(replace(each, at=self._clock()))
            self._unsaved = True

    # Writing

    def put(self, rollout: Rollout, *, moved: bool = True) -> None:
        """`moved`: whether somebody may have to be given something else by it."""
        self._all[rollout.id] = rollout
        self._unsaved = True
        if moved:
            self.moved = True
            self._overlays.clear()

    def say(self, name: str, words: str) -> None:
        self.put(self._all[name].tell(self._clock(), words), moved=False)
        log.info("rollout", rollout=name, said=words)
        self._tells("rollout", {"rollout": name, "said": words})

    def withdrawn(self, name: str, reason: str) -> None:
        """Nobody is given it any more; its documents are not put back yet."""
        rollout = self._all[name].tell(self._clock(), reason)
        self.put(rollout)
        self._ended.labels(Phase.WITHDRAWN.value).inc()
        log.warning(
            "rollout withdrawn", rollout=name, documents=[str(of) for of in rollout.documents], reason=reason
        )
        self._tells("rollout withdrawn", {"rollout": name, "reason": reason})

    def end(self, rollout: Rollout, phase: Phase, why: str) -> None:
        """All sources say now what everybody is given."""
        state = rollout.state
        if phase is Phase.COMPLETED or not state.over:
            self._ended.labels(phase.value).inc()
            state = replace(state, phase=phase, reason=why or state.reason)
        for of in rollout.documents:
            self._settled.pop(of.name, None)
            self._settled[of.name] = of.after if phase is Phase.COMPLETED else of.before
        for name in list(self._settled)[:-SETTLED]:
            del self._settled[name]
        now = self._clock()
        self.put(replace(rollout, state=state, ended=now).tell(now, why or "everybody has it"))
        event = "rollout completed" if phase is Phase.COMPLETED else "rollout ended"
        log.info(event, rollout=rollout.id, reason=why)
        self._tells(event, {"rollout": rollout.id, "reason": why})

    def refresh_metrics(self) -> None:
        for phase in Phase:
            self._phases.labels(phase.value).set(sum(each.state.phase is phase for each in self.holding()))

    # Keeping

    def load(self) -> None:
        """What was on when the program ended. Blocks; before sources are heard."""
        kept = self._records.load()
        self._asked += kept.asked
        self._settled |= dict(kept.settled)
        self._in_force = kept.in_force
        self._all |= {each.id: each for each in kept.rollouts}

    async def kept(self) -> None:
        """Return when all that was decided is on the disk, or it is known that the disk does not take it."""
        if not self._unsaved and not self._saving.locked():
            return
        async with self._saving:  # also while another is at it: what it writes may be what is waited for
            if self._unsaved:
                await self._save()

    def keep_again(self) -> None:
        """After a failure: there may be room again."""
        self._unsaved = self._unsaved or bool(self.failing)

    async def _save(self) -> None:
        self._unsaved = False
        rollouts = shortened(self._all.values())
        self._all = {each.id: each for each in rollouts}
        kept = Kept(rollouts, tuple(self._asked), tuple(self._settled.items()))
        try:
            await asyncio.to_thread(self._records.save, kept)
        except OSError as error:
            why = f"{error.strerror or error}"
            if why != self.failing:
                log.warning("rollouts cannot be written: a restart would not know of them", reason=why)
            self.failing = why
            return
        self.failing = ""
