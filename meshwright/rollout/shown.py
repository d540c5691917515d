"""Rollouts as the API tells of them and takes commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from api.rolling import Command
from api.shapes.rollouts import Rollout as Shown
from api.shapes.rollouts import RolloutLine, RolloutSeen
from mesh.events import DocumentName
from meshwright.rollout import asking
from meshwright.rollout.driver import Driver
from meshwright.rollout.machine import Abort, Event, Pause, Promote, Resume
from meshwright.rollout.record import Rollout
from policies.rollout import NOT_STAGED


@dataclass(frozen=True, slots=True)
class Rolling:
    """Fills `api.rolling.Rolling`."""

    driver: Driver

    def all(self) -> tuple[Shown, ...]:
        return tuple(map(self._shown, self.driver.book.all()))

    def one(self, name: str) -> Shown:
        return self._shown(self.driver.book.one(name))

    async def command(self, name: str, command: Command, by: str, reason: str) -> Shown:
        def event(now: float) -> Event:
            match command:
                case "promote":
                    return Promote(now, by)
                case "abort":
                    return Abort(now, by, reason)
                case "pause":
                    return Pause(now, by)
                case "resume":
                    return Resume(now, by)

        return self._shown(await self.driver.command(name, event))

    async def stage(
        self, names: frozenset[DocumentName], stages: str, bake: str | None, by: str
    ) -> Callable[[], Awaitable[None]]:
        plan = asking.plan(stages, bake)
        at_once = sorted({kind for kind, _ in names} & NOT_STAGED)
        if at_once:
            raise ValueError(
                f"a change of a {at_once[0]} cannot reach some proxies first: write it before, without stages"
            )
        return await self.driver.book.ask(names, plan, by)

    def _shown(self, of: Rollout) -> Shown:
        live = self.driver.live(of.id)
        requests, failed, without, failed_without = self.driver.watching.counts(of.id)
        return Shown(
            id=of.id,
            documents=tuple(map(str, of.documents)),
            by=of.by,
            stages=tuple(map(str, of.plan.stages)),
            stage=of.state.stage + 1,
            phase=of.state.phase.value,
            paused=of.state.paused,
            reason=of.state.reason,
            undone=of.undone,
            holding=of.holding,
            started=of.started,
            ended=of.ended,
            proxies=len(live.concerned.everybody),
            having=live.having,
            missing=live.missing,
            seen=RolloutSeen(
                requests=requests, failed=failed, requests_without=without, failed_without=failed_without
            ),
            health=live.words,
            told=tuple(RolloutLine(at=each.at, words=each.words) for each in of.told),
        )
