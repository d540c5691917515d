"""Runs the sources: restarts those that fail, guards what they say, and keeps their last good state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, assert_never

import structlog

from discovery.backoff import Backoff
from discovery.guard import Guard, GuardSettings, Hold, Said
from discovery.lastgood import LastGood, Saved
from discovery.source import (
    Source,
    SourceEvent,
    SourceFailed,
    SourceIncomplete,
    SourceRecovered,
    SourceReport,
    SourceReset,
)
from mesh.events import Event, SourceSnapshot, SourceUpdate
from mesh.names import Key

SAVE_PAUSE = 2.0
"""Seconds between two writes of a source's last good state, and from a change to its write."""
SAVE_RETRY = 15.0
"""Seconds after a write that failed until the next: whether or not anything changes, there may be room again."""
PATIENCE = 2.0
"""Seconds that a source may take to speak before its restored state counts as its word."""


class SourceState(StrEnum):
    STARTING = "starting"
    RESTORED = "restored"  # its last good state is used; it has not spoken since the start
    LIVE = "live"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Times are of the supervisor's clock, in seconds. `services` and `workloads` count what the mesh was told of.

    `last_error` stays after a recovery, until the next one replaces it.
    """

    name: str
    state: SourceState
    since: float
    last_event: float | None = None
    last_error: str | None = None
    services: int = 0
    workloads: int = 0
    holds: tuple[Hold, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Discovery:
    """All sources. `clock` gives seconds and never goes back (`time.monotonic`); `random` floats in [0, 1).

    `ready` is set when each source has spoken, or its last good state was read and it has failed or kept silent for
    `patience` seconds: no proxy may be answered before.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        lastgood: LastGood | None,
        clock: Callable[[], float],
        random: Callable[[], float],
        guard_settings: GuardSettings | None = None,
        patience: float = PATIENCE,
    ) -> None:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources have one name: {', '.join(sorted(names))}; give each its own")
        self.ready = asyncio.Event()
        self._lastgood = lastgood
        self._clock = clock
        self._random = random
        self._patience = patience
        self._patient = True
        self._log: Any = structlog.get_logger("discovery")
        self._wake = asyncio.Event()  # a hold began or ended
        self._apply: Callable[[Event], None] | None = None
        now = clock()
        settings = guard_settings or GuardSettings()
        self._sources = {
            source.name: _Running(
                source,
                Guard(source.name, settings if source.guarded else replace(settings, enabled=False)),
                SourceStatus(source.name, SourceState.STARTING, since=now),
            )
            for source in sources
        }

    async def run(self, apply: Callable[[Event], None]) -> None:
        """Until cancelled. `apply` is called on the event loop, with each event that the guard lets through, in order;
        what it raises ends the program, for it is a fault of ours.
        """
        self._apply = apply
        await self._restore()
        self._check_ready()
        try:
            async with asyncio.TaskGroup() as group:
                for running in self._sources.values():
                    group.create_task(self._run_source(running), name=f"source {running.source.name}")
                    if self._lastgood is not None:
                        group.create_task(self._keep(running, self._lastgood), name="last good state")
                group.create_task(self._end_holds(), name="holds")
                group.create_task(self._lose_patience(), name="readiness")
        finally:
            self._apply = None

    def status(self) -> tuple[SourceStatus, ...]:
        """Of each source, in the order they were given."""
        return tuple(self._status(running) for running in self._sources.values())

    def release(self, service: Key | None) -> int:
        """End the holds of `service`, or all of them; how many there were. Tells the mesh at once."""
        ended = 0
        for running in self._sources.values():
            count, update = running.guard.release(service)
            ended += count
            if count:
                self._log.warning("hold_released", source=running.source.name, service=str(service or "all"))
            self._tell(running, update)
        return ended

    async def _restore(self) -> None:
        if self._lastgood is None:
            return
        for running in self._sources.values():
            loaded = await asyncio.to_thread(self._lastgood.load, running.source.name)
            if loaded.warning:
                running.own_warnings = (loaded.warning,)
                self._log.warning(
                    "last_good_state_unusable", source=running.source.name, reason=loaded.warning
                )
            if loaded.saved is None:
                continue
            snapshot = loaded.saved.snapshot
            self._set(running, SourceState.RESTORED)
            running.restored = True
            self._log.info(
                "last_good_state_restored",
                source=running.source.name,
                services=len(snapshot.services),
                workloads=len(snapshot.workloads),
            )
            self._tell(running, running.guard.restore(snapshot, held=loaded.saved.held), save=False)

    async def _run_source(self, running: _Running) -> None:
        backoff = Backoff(self._random)
        name = running.source.name
        while True:
            running.failing = False  # it starts over
            try:
                async with aclosing(running.source.events()) as events:  # type: ignore[type-var]
                    async for event in events:
                        if isinstance(event, SourceSnapshot):
                            backoff.reset()
                        self._take(running, event)
                reason = f"source {name} ended by itself; it is started again"
            except _ApplyFailed as failed:
                raise failed.error from failed
            except Exception as error:  # noqa: BLE001
                # Whatever one source does wrong must not end the others.
                self._log.exception("source_broke", source=name)
                reason = f"source {name} broke: {type(error).__name__}: {error}; it is started again"
            self._take(running, SourceFailed(name, reason))
            await asyncio.sleep(backoff.next())

    def _take(self, running: _Running, event: SourceEvent) -> None:
        name = running.source.name
        if event.source != name:
            raise ValueError(f"source {name} speaks for {event.source}")
        status = running.status
        match event:
            case SourceSnapshot() | SourceUpdate():
                running.status = replace(status, last_event=self._clock())
                if not running.failing:
                    # Part of a source may speak while another part fails: it says itself when that is over.
                    self._set(running, SourceState.LIVE)
                self._guarded(running, event)
                running.spoken = running.spoken or isinstance(event, SourceSnapshot)
            case SourceFailed(reason=reason):
                if status.state is not SourceState.FAILED or status.last_error != reason:
                    self._log.warning("source_failed", source=name, reason=reason)
                running.status = replace(status, last_error=reason)
                running.failing = True
                self._set(running, SourceState.FAILED)
            case SourceRecovered():
                self._log.info("source_recovered", source=name)
                running.failing = False
                waiting = SourceState.RESTORED if running.restored else SourceState.STARTING
                self._set(running, SourceState.LIVE if running.spoken else waiting)
            case SourceIncomplete(files=files):
                running.guard.keep(files)
            case SourceReset(reason=reason):
                self._log.warning("source_reset", source=name, reason=reason)
                running.guard.distrust(event)
            case SourceReport(errors=errors, warnings=warnings):
                for line in sorted({*errors, *warnings} - {*status.errors, *status.warnings}):
                    self._log.warning("source_report", source=name, report=line)
                running.status = replace(status, errors=errors, warnings=warnings)
            case _:
                assert_never(event)
        self._check_ready()

    def _guarded(self, running: _Running, said: Said) -> None:
        before = running.guard.holds()
        told = running.guard.receive(said, self._clock())
        self._tell(running, told)
        after = running.guard.holds()
        known = {(hold.service, hold.ends) for hold in before}
        for hold in after:
            if (hold.service, hold.ends) not in known:
                self._log.warning(
                    "removal_held",
                    source=hold.source,
                    service=str(hold.service),
                    endpoints=hold.endpoints,
                    why=hold.why,
                )
        for service in {hold.service for hold in before} - {hold.service for hold in after}:
            self._log.info(
                "hold_ended", source=running.source.name, service=str(service), why="half came back"
            )
        if before != after:
            self._wake.set()

    def _tell(self, running: _Running, event: Event | None, *, save: bool = True) -> None:
        if event is None:
            return
        if self._apply is not None:
            try:
                self._apply(event)
            except Exception as error:
                raise _ApplyFailed(error) from error
        if save:
            running.unsaved.set()

    def _set(self, running: _Running, state: SourceState) -> None:
        if running.status.state is not state:
            running.status = replace(running.status, state=state, since=self._clock())

    def _status(self, running: _Running) -> SourceStatus:
        services, workloads = running.guard.counts
        return replace(
            running.status,
            services=services,
            workloads=workloads,
            holds=running.guard.holds(),
            warnings=(*running.own_warnings, *running.status.warnings),
        )

    def _check_ready(self) -> None:
        """Set `ready` if every source has spoken or is spoken for by its restored state."""
        if all(
            running.spoken
            or (running.restored and (not self._patient or running.status.state is SourceState.FAILED))
            for running in self._sources.values()
        ):
            self.ready.set()

    async def _lose_patience(self) -> None:
        await asyncio.sleep(self._patience)
        self._patient = False
        self._check_ready()

    async def _end_holds(self) -> None:
        while True:
            self._wake.clear()
            due = [at for each in self._sources.values() if (at := each.guard.next_due()) is not None]
            pause = max(0.0, min(due) - self._clock()) if due else None
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass  # which is what it waited for
            for running in self._sources.values():
                ended = running.guard.due(self._clock())
                if ended is not None:
                    self._log.warning(
                        "hold_ended", source=running.source.name, why="it lasted as long as it may"
                    )
                self._tell(running, ended)

    async def _keep(self, running: _Running, lastgood: LastGood) -> None:
        """Write the state some time after it changes, again if that fails, and once more at the end if it must."""
        pause = SAVE_PAUSE
        try:
            while True:
                await running.unsaved.wait()
                await asyncio.sleep(pause)
                pause = SAVE_PAUSE if await self._save(running, lastgood) else SAVE_RETRY
        finally:
            if running.unsaved.is_set():
                await self._save(running, lastgood)

    async def _save(self, running: _Running, lastgood: LastGood) -> bool:
        """Whether it was written; if not, it stays unsaved."""
        running.unsaved.clear()
        saved = Saved(running.guard.told(), held=bool(running.guard.holds()))
        try:
            await asyncio.to_thread(lastgood.save, running.source.name, saved)
        except OSError as error:
            # The mesh goes on without it. The error's own text may have the temporary file's name: always another.
            warning = f"the last good state cannot be written: {error.strerror or error}: make room, or check the data folder"
            if running.own_warnings != (warning,):
                self._log.warning("last_good_state_not_saved", source=running.source.name, reason=warning)
            running.own_warnings = (warning,)
            running.unsaved.set()
            return False
        running.own_warnings = ()
        return True


class _ApplyFailed(Exception):
    """What `apply` raised: no fault of the source."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Running:
    source: Source
    guard: Guard
    status: SourceStatus
    spoken: bool = False
    restored: bool = False
    failing: bool = False  # it has said so, and not yet that it is over
    own_warnings: tuple[str, ...] = ()
    unsaved: asyncio.Event = field(default_factory=asyncio.Event)
