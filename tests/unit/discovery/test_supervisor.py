"""Discovery over sources made for the purpose, which break as no real one can be made to."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import AsyncIterator

import pytest

from discovery.guard import GuardSettings
from discovery.lastgood import LastGood, Saved
from discovery.source import SourceEvent, SourceFailed, SourceRecovered, SourceReport
from discovery.supervisor import Discovery, SourceState
from mesh.events import Event, SourceSnapshot, SourceUpdate
from mesh.names import Key
from mesh.service import Service, ServicePort
from mesh.workload import Workload, WorkloadPort
from tests.support.consul_mesh import told_by


class Scripted:
    """A source that says what it is told to; an exception is raised, None ends it."""

    def __init__(
        self, name: str = "s", *script: SourceEvent | Exception | None, guarded: bool = True
    ) -> None:
        self.name = name
        self.guarded = guarded
        self.starts = 0
        self._queue: asyncio.Queue[SourceEvent | Exception | None] = asyncio.Queue()
        for each in script:
            self.say(each)

    def say(self, what: SourceEvent | Exception | None) -> None:
        self._queue.put_nowait(what)

    async def events(self) -> AsyncIterator[SourceEvent]:
        self.starts += 1
        while (event := await self._queue.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event


def snapshot(count: int, source: str = "s") -> SourceSnapshot:
    key = Key("default", "api")
    workloads = tuple(
        Workload(Key("default", f"w-{n}"), (key,), "api", "127.0.0.1", (WorkloadPort("main", 9000 + n),))
        for n in range(count)
    )
    services = (Service(key, (ServicePort("main", 80),)),) if count else ()
    return SourceSnapshot(source, services, workloads)


async def test_a_source_that_breaks_or_ends_is_started_again_and_the_others_go_on() -> None:
    bad = Scripted("bad", RuntimeError("boom"), None, snapshot(1, "bad"))
    good = Scripted("good", SourceSnapshot("good"))
    async with told_by(bad, good) as told:
        await told.until(lambda: told.status("bad").state is SourceState.LIVE)
        assert bad.starts == 3
        assert good.starts == 1
        assert told.status("bad").last_error == "source bad ended by itself; it is started again"
        assert len(told.endpoints("api")) == 1


async def test_a_source_that_speaks_for_another_has_broken() -> None:
    async with told_by(Scripted("s", snapshot(1, "other")), ready=False) as told:
        await told.until(lambda: told.status("s").state is SourceState.FAILED)
        assert not told.events


async def test_failures_recoveries_and_reports_are_shown() -> None:
    source = Scripted("s", snapshot(3))
    async with told_by(source) as told:
        source.say(SourceFailed("s", "gone fishing"))
        await told.until(lambda: told.status("s").state is SourceState.FAILED)
        assert told.status("s").last_error == "gone fishing"
        assert (told.status("s").services, told.status("s").workloads) == (1, 3)
        assert len(told.endpoints("api")) == 3
        source.say(SourceRecovered("s"))
        source.say(SourceReport("s", errors=("e",), warnings=("w",)))
        await told.until(lambda: told.status("s").errors)
        assert told.status("s").state is SourceState.LIVE
        assert told.status("s").warnings == ("w",)


async def test_a_part_that_speaks_while_another_fails_is_no_recovery() -> None:
    source = Scripted("s", snapshot(3))
    async with told_by(source) as told:
        source.say(SourceFailed("s", "pods: 403"))
        source.say(SourceUpdate("s", removed_workloads=(Key("default", "w-0"),)))
        await told.until(lambda: len(told.endpoints("api")) == 2)
        assert told.status("s").state is SourceState.FAILED
        source.say(SourceRecovered("s"))
        await told.until(lambda: told.status("s").state is SourceState.LIVE)


async def test_ready_when_every_source_has_spoken() -> None:
    late = Scripted("late")
    async with told_by(Scripted("s", snapshot(1)), late, patience=0.01, ready=False) as told:
        await told.until(lambda: told.status("s").state is SourceState.LIVE)
        late.say(SourceFailed("late", "no"))
        await told.until(lambda: told.status("late").state is SourceState.FAILED)
        assert not told.discovery.ready.is_set()
        late.say(SourceSnapshot("late"))
        await told.until(told.discovery.ready.is_set)


async def test_a_restored_state_counts_after_some_patience_or_a_failure(tmp_path: pathlib.Path) -> None:
    lastgood = LastGood(tmp_path)
    lastgood.save("s", Saved(snapshot(4)))
    silent = Scripted("s")
    async with told_by(silent, lastgood=lastgood, patience=3600, ready=False) as told:
        await told.until(lambda: len(told.endpoints("api")) == 4)
        assert told.status("s").state is SourceState.RESTORED
        assert not told.discovery.ready.is_set()
        silent.say(SourceFailed("s", "no"))
        await told.until(told.discovery.ready.is_set)
    async with told_by(Scripted("s"), lastgood=lastgood, patience=0.05) as told:
        assert told.status("s").state is SourceState.RESTORED
    # The second source never spoke; the first does after patience is lost.
    late = Scripted("late")
    async with told_by(Scripted("s"), late, lastgood=lastgood, patience=0.01, ready=False) as told:
        await told.until(lambda: not told.discovery._patient)
        late.say(SourceSnapshot("late"))
        await told.until(told.discovery.ready.is_set)


async def test_the_state_is_written_at_the_end(tmp_path: pathlib.Path) -> None:
    lastgood = LastGood(tmp_path)
    source = Scripted("s", snapshot(6))
    async with told_by(source, lastgood=lastgood) as told:
        source.say(SourceSnapshot("s"))
        await told.until(lambda: told.status("s").holds)
    loaded = lastgood.load("s").saved
    assert loaded == Saved(snapshot(6), held=True)


async def test_a_disk_that_fails_is_shown_and_the_mesh_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("discovery.supervisor.SAVE_PAUSE", 0.01)
    (tmp_path / "file").touch()
    source = Scripted("s", snapshot(1))
    async with told_by(source, lastgood=LastGood(tmp_path / "file")) as told:
        await told.until(lambda: "cannot be written" in "".join(told.status("s").warnings))
        source.say(snapshot(2))
        await told.until(lambda: len(told.endpoints("api")) == 2)


async def test_a_write_that_failed_is_tried_again_though_nothing_changes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("discovery.supervisor.SAVE_PAUSE", 0.01)
    monkeypatch.setattr("discovery.supervisor.SAVE_RETRY", 0.05)
    folder = tmp_path / "last-good"
    folder.touch()  # no folder, so nothing can be written there: stands for a disk without room
    lastgood = LastGood(folder)
    async with told_by(Scripted("s", snapshot(1)), lastgood=lastgood) as told:
        await told.until(lambda: "cannot be written" in "".join(told.status("s").warnings))
        folder.unlink()
        await told.until(lambda: not told.status("s").warnings)
        assert lastgood.load("s").saved == Saved(snapshot(1))
        assert len(told.events) == 1


async def test_a_corrupt_state_is_shown(tmp_path: pathlib.Path) -> None:
    (tmp_path / "s.lastgood").write_text("junk")
    async with told_by(Scripted("s"), lastgood=LastGood(tmp_path), ready=False) as told:
        await told.until(lambda: told.status("s").warnings)
        assert told.status("s").state is SourceState.STARTING
        assert not told.discovery.ready.is_set()


async def test_holds_end_by_time_and_by_command() -> None:
    source = Scripted("s", snapshot(6))
    async with told_by(source, settings=GuardSettings(longest=0.2)) as told:
        source.say(SourceSnapshot("s"))
        await told.until(lambda: told.status("s").holds)
        assert len(told.endpoints("api")) == 6
        await told.until(lambda: not told.state.workloads)
    source = Scripted("s", snapshot(6))
    async with told_by(source) as told:
        source.say(SourceSnapshot("s"))
        await told.until(lambda: told.status("s").holds)
        assert told.discovery.release(Key("default", "other")) == 0
        assert told.discovery.release(None) == 1
        assert not told.state.workloads


async def test_an_unguarded_source_is_believed() -> None:
    source = Scripted("s", snapshot(6), guarded=False)
    async with told_by(source) as told:
        source.say(SourceSnapshot("s"))
        await told.until(lambda: not told.state.workloads)
        assert not told.status("s").holds


async def test_what_apply_raises_ends_the_program() -> None:
    discovery = Discovery(
        [Scripted("s", SourceUpdate("s", workloads=snapshot(1).workloads))],
        lastgood=None,
        clock=lambda: 0.0,
        random=lambda: 0.0,
    )

    def apply(_: Event) -> None:
        raise KeyError("ours")

    with pytest.raises(ExceptionGroup) as caught:
        await discovery.run(apply)
    assert caught.group_contains(KeyError)


def test_two_sources_of_one_name() -> None:
    with pytest.raises(ValueError, match="two sources have one name: s, s"):
        Discovery([Scripted("s"), Scripted("s")], lastgood=None, clock=lambda: 0.0, random=lambda: 0.0)
