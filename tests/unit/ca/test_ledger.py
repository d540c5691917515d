from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ca.errors import AuthorityError
from ca.ledger import MOST, Entry, Ledger
from ca.ledger_file import SNAPSHOT, LedgerFile
from ca.recorded import RecordedAuthority
from ca.rotation import Holder, Leaf, restricted
from mesh.names import Key
from tests.support.ca_builders import API, START, HandClock, a_leaf_request, an_authority

END = START + timedelta(hours=24)


def a_leaf(serial: int, family: str = "f", workload: str = "default/a") -> Leaf:
    return Leaf(serial, Holder.AGENT, workload, family, 1, END, frozenset({"r"}), settled=True)


def serials(ledger: Ledger) -> set[int]:
    return {leaf.serial for leaf in ledger.leaves()}


def test_who_uses_a_leaf_needs_none_of_its_family_any_more() -> None:
    ledger = Ledger()
    for leaf in (a_leaf(1), a_leaf(2), a_leaf(3), a_leaf(4, "other")):
        ledger.issued(leaf)
    ledger.confirmed(3)
    assert serials(ledger) == {3, 4}


def test_a_leaf_that_was_issued_after_the_one_in_use_may_be_on_its_way() -> None:
    ledger = Ledger()
    for leaf in (a_leaf(1), a_leaf(2), a_leaf(3)):
        ledger.issued(leaf)
    ledger.confirmed(2)
    assert serials(ledger) == {2, 3}


def test_leaves_end() -> None:
    ledger = Ledger()
    ledger.issued(a_leaf(1))
    ledger.expire(END - timedelta(seconds=1))
    assert serials(ledger) == {1}
    ledger.expire(END)
    assert serials(ledger) == set()


def test_what_changes_nothing_is_not_journalled() -> None:
    entries: list[Entry] = []
    ledger = Ledger(journal=entries.append)
    ledger.issued(a_leaf(1))
    for _ in range(3):
        ledger.confirmed(1)
        ledger.acknowledged("f", frozenset({"r"}), ("r",))
    assert len(entries) == 1


def test_one_workload_does_not_fill_the_memory() -> None:
    """Leaves stand for several; what stands for them is no surer than any of them, and lasts as long as the last."""
    ledger = Ledger()
    for number in range(10 * MOST):
        leaf = a_leaf(number, f"f{number}")
        ledger.issued(
            replace(leaf, not_after=END + timedelta(seconds=number), held=frozenset({"r", str(number)}))
        )
    leaves = ledger.leaves()
    assert len(leaves) == MOST
    assert max(leaf.not_after for leaf in leaves) == END + timedelta(seconds=10 * MOST - 1)
    merged = [leaf for leaf in leaves if leaf.family.startswith("merged/")]
    assert merged
    assert all(leaf.held == {"r"} for leaf in merged)


def test_an_operator_may_have_a_proxy_forgotten() -> None:
    ledger = Ledger()
    ledger.issued(a_leaf(1))
    ledger.issued(a_leaf(2, workload="default/b"))
    assert ledger.forget("default/a") == 1
    assert ledger.forget("default/a") == 0
    assert serials(ledger) == {2}


def opened(directory: Path, *, created: bool = False) -> LedgerFile:
    return LedgerFile.open(directory, created=created, unrecorded_until=END)


def test_all_is_there_after_sigkill(tmp_path: Path) -> None:
    """Which is what not closing it amounts to."""
    first = opened(tmp_path, created=True)
    for leaf in (a_leaf(1), a_leaf(2), a_leaf(3, "other")):
        first.ledger.issued(leaf)
    first.ledger.confirmed(2)
    first.ledger.restricted(("r", "s"))
    first.ledger.acknowledged("other", frozenset({"r", "s"}), ("r", "s"))
    for _ in range(3):
        again = opened(tmp_path)
        assert set(again.ledger.leaves()) == set(first.ledger.leaves())
        again.close()
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    first.close()


@pytest.mark.parametrize("killed", ["before the snapshot", "before the journals are removed", "not"])
async def test_it_is_written_anew_while_leaves_are_issued(
    tmp_path: Path, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(tmp_path, created=True)
    for number in range(50):
        file.ledger.issued(a_leaf(number, f"f{number}", f"default/{number}"))
    real, loop = os.fsync, asyncio.get_running_loop()

    def late(descriptor: int) -> None:
        """The journal that was turned from is put on the disk: a leaf is issued meanwhile."""
        asyncio.run_coroutine_threadsafe(_issued(file, a_leaf(100, "late")), loop).result()
        monkeypatch.setattr(os, "fsync", real)
        real(descriptor)

    if killed == "before the journals are removed":
        monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    in_the_way = tmp_path / SNAPSHOT
    if killed == "before the snapshot":
        in_the_way.mkdir()
    monkeypatch.setattr(
        LedgerFile, "_begin", _then(LedgerFile._begin, lambda: monkeypatch.setattr(os, "fsync", late))
    )
    with contextlib.suppress(OSError) if in_the_way.exists() else contextlib.nullcontext():
        await file.rewrite()
    if in_the_way.is_dir():
        in_the_way.rmdir()
    monkeypatch.undo()
    file.ledger.confirmed(100)
    again = opened(tmp_path)
    assert set(again.ledger.leaves()) == set(file.ledger.leaves())
    assert len(again.ledger) == 51
    file.close()
    again.close()


async def _issued(file: LedgerFile, leaf: Leaf) -> None:
    file.ledger.issued(leaf)


def _then(
    real: Callable[[LedgerFile, int], int], after: Callable[[], None]
) -> Callable[[LedgerFile, int], int]:
    def both(file: LedgerFile, number: int) -> int:
        made = real(file, number)
        after()
        return made

    return both


async def test_lines_that_did_not_get_to_the_disk_are_tried_again(tmp_path: Path) -> None:
    """A pipe in the journal's place: fsync does not take it."""
    file = opened(tmp_path, created=True)
    file.ledger.issued(a_leaf(1))
    journal = os.dup(file._journal)
    reading, writing = os.pipe()
    os.dup2(writing, file._journal)
    for _ in range(2):
        with pytest.raises(OSError, match="Invalid argument"):
            await file.sync()
    os.dup2(journal, file._journal)
    await file.sync()
    for each in (journal, reading, writing):
        os.close(each)
    file.close()


async def test_a_journal_is_on_the_disk_before_it_is_closed_and_the_loop_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(tmp_path, created=True)
    file.ledger.issued(a_leaf(1))
    first, real = (tmp_path / "issued-1.jsonl").stat().st_ino, os.fsync
    synced: list[tuple[int, bool]] = []

    def recorded(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, threading.current_thread() is threading.main_thread()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    await file.rewrite()
    assert first in {inode for inode, _ in synced}
    assert not any(on_the_loop for _, on_the_loop in synced)
    assert file._before == []
    file.close()


async def test_a_disk_that_takes_no_snapshot_is_not_filled_with_journals(tmp_path: Path) -> None:
    file = opened(tmp_path, created=True)
    file.ledger.issued(a_leaf(1))
    in_the_way = tmp_path / SNAPSHOT
    in_the_way.mkdir()
    for _ in range(5):
        assert file.grown
        with pytest.raises(OSError):
            await file.rewrite()
    assert len(list(tmp_path.glob("issued-*.jsonl"))) == 2
    in_the_way.rmdir()
    await file.rewrite()
    assert not file.grown
    file.close()
    again = opened(tmp_path)
    assert set(again.ledger.leaves()) == {a_leaf(1)}
    again.close()


def test_a_restriction_costs_nothing_until_a_leaf_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    asked: list[int] = []
    for number in range(3):
        ledger.issued(a_leaf(number, f"f{number}", f"default/{number}"))

    def counted(leaf: Leaf, bundle: tuple[str, ...]) -> Leaf:
        asked.append(leaf.serial)
        return restricted(leaf, bundle)

    monkeypatch.setattr("ca.ledger.restricted", counted)
    ledger.restricted(("r", "s"))
    ledger.restricted(("s",))
    assert asked == []
    found = ledger.find(1)
    assert found is not None
    assert (found.held, found.settled) == (frozenset(), False)
    assert asked == [1, 1]
    ledger.acknowledged("f2", frozenset({"s"}), ("s",))
    ledger.issued(a_leaf(4, "g"))
    assert {leaf.serial: leaf.settled for leaf in ledger.leaves()} == {0: False, 1: False, 2: True, 4: True}
    assert ledger.serials() == (0, 1, 2, 4)


def test_an_unfinished_line_was_never_acted_on(tmp_path: Path) -> None:
    file = opened(tmp_path, created=True)
    file.ledger.issued(a_leaf(1))
    file.close()
    journal = tmp_path / "issued-1.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"leaf":{"serial":2,"hol')
    again = opened(tmp_path)
    assert serials(again.ledger) == {1}
    again.close()


@pytest.mark.parametrize("lost", ["all", "snapshot", "line", "never there"])
async def test_without_it_unknown_leaves_are_reckoned_with(tmp_path: Path, lost: str) -> None:
    if lost != "never there":
        file = opened(tmp_path, created=True)
        file.ledger.issued(a_leaf(1))
        await file.rewrite()
        file.ledger.issued(a_leaf(2, "g"))
        file.close()
    if lost in {"all", "snapshot"}:
        (tmp_path / SNAPSHOT).unlink()
    if lost == "all":
        (tmp_path / "issued-2.jsonl").unlink()
    if lost == "line":
        (tmp_path / "issued-2.jsonl").write_text("nonsense\n")
    again = opened(tmp_path)
    unknown = [leaf for leaf in again.ledger.leaves() if leaf.holder is Holder.UNRECORDED]
    assert [(leaf.not_after, leaf.held) for leaf in unknown] == [(END, frozenset())]
    again.close()


async def test_each_leaf_is_recorded_with_what_is_certain_of_its_holder(tmp_path: Path) -> None:
    authority, ledger = an_authority(tmp_path, HandClock()), Ledger()
    recorded = RecordedAuthority(authority, ledger)
    joined = await recorded.issue(a_leaf_request())
    renewed = await recorded.issue(replace(a_leaf_request(), renews=joined.serial))
    sent = await recorded.issue(replace(a_leaf_request(), delivered=True))
    await recorded.issue(a_leaf_request(API, None))  # the control plane's own
    await recorded.issue(a_leaf_request(API, Key("default", "other")))
    first, second, third = (ledger.find(each.serial) for each in (joined, renewed, sent))
    assert first
    assert second
    assert third
    assert len(ledger) == 4
    assert first.family == second.family != third.family
    assert first.held == set(authority.rotation.bundle)
    assert (third.holder, third.held, third.settled) == (Holder.ENVOY, frozenset(), False)


async def test_what_cannot_be_recorded_is_not_given(tmp_path: Path) -> None:
    """A full disk: /dev/full says so at once."""
    file = opened(tmp_path, created=True)
    os.dup2(full := os.open("/dev/full", os.O_WRONLY), file._journal)
    os.close(full)
    recorded = RecordedAuthority(an_authority(tmp_path / "data", HandClock()), file.ledger)
    with pytest.raises(AuthorityError, match="No space left on device: make room"):
        await recorded.issue(a_leaf_request())
    file.close()
