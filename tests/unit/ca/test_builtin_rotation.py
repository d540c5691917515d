"""The built-in authority's files while its root is rotated: whole after a crash at any moment."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ca import files
from ca.builtin import BuiltinAuthority
from ca.errors import AuthorityExpired, DamagedAuthority
from ca.rotation import Action, Rotation, Stage, Step, abort, advance, begin
from tests.support.ca_builders import HandClock, a_leaf_request, an_authority, certificates


async def do(authority: BuiltinAuthority, step: Step | None) -> None:
    """As the shell does it, with nobody to wait for."""
    assert step is not None
    await authority.install(step.rotation)
    if Action.TIDY in step.actions:
        await authority.tidy()


async def start(authority: BuiltinAuthority, *, root: bool = True) -> None:
    await do(authority, begin(authority.rotation, await authority.prepare(root=root), authority._clock()))


async def go_on(authority: BuiltinAuthority) -> None:
    await do(authority, advance(authority.rotation, (), authority._clock()))


async def turn_back(authority: BuiltinAuthority) -> None:
    await do(authority, abort(authority.rotation, authority._clock()))


async def verifies(authority: BuiltinAuthority) -> str:
    """What it issues is verified by its own bundle; the root's name."""
    issued = await authority.issue(a_leaf_request())
    leaf, intermediate = certificates(issued.chain_pem)
    leaf.verify_directly_issued_by(intermediate)
    (root,) = [each for each in certificates(authority.roots().pem) if each.subject == intermediate.issuer]
    intermediate.verify_directly_issued_by(root)
    assert authority.bundle_path.read_bytes() == authority.roots().pem
    assert issued.generation == authority.rotation.signing
    return root.subject.rfc4514_string()


async def test_from_root_to_root(tmp_path: Path) -> None:
    authority = an_authority(tmp_path, HandClock())
    old = await verifies(authority)
    await start(authority)
    assert len(authority.roots().roots) == 2
    assert await verifies(authority) == old
    await go_on(authority)
    new = await verifies(authority)
    assert new != old
    await go_on(authority)
    assert len(authority.roots().roots) == 1
    await go_on(authority)
    assert authority.rotation.stage is Stage.STABLE
    assert {path.name for path in (tmp_path / "ca").glob("*.pem")} == {"root.pem", "intermediate.pem"}
    again = an_authority(tmp_path, HandClock())
    assert await verifies(again) == await verifies(authority) == new
    await start(again)  # and once more
    assert await verifies(again) == new


async def test_a_new_intermediate_alone(tmp_path: Path) -> None:
    authority = an_authority(tmp_path, HandClock())
    old, bundle = (await authority.issue(a_leaf_request())).chain_pem, authority.roots()
    await start(authority, root=False)
    assert authority.rotation.stage.value == "signing"
    new = (await authority.issue(a_leaf_request())).chain_pem
    assert certificates(old)[1] != certificates(new)[1]
    await go_on(authority)
    assert authority.rotation.stage is Stage.STABLE
    again = an_authority(tmp_path, HandClock())
    assert certificates((await again.issue(a_leaf_request())).chain_pem)[1] == certificates(new)[1]
    assert again.roots() == bundle


@pytest.mark.parametrize("stages", [0, 1, 2])
async def test_abort_returns_to_the_same_files(tmp_path: Path, stages: int) -> None:
    authority = an_authority(tmp_path, HandClock())
    before = {path.name: path.read_bytes() for path in (tmp_path / "ca").glob("*.pem")}
    bundle = authority.bundle_path.read_bytes()
    await start(authority)
    for _ in range(stages):
        await go_on(authority)
    await turn_back(authority)
    while authority.rotation.stage is not Stage.STABLE:
        await go_on(authority)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ca").glob("*.pem")} == before
    assert authority.bundle_path.read_bytes() == bundle


class Killed(BaseException):
    """In place of SIGKILL, which cannot be timed between two writes."""


STEPS: tuple[Callable[[BuiltinAuthority], Awaitable[None]], ...] = (
    start, go_on, turn_back, go_on, go_on, start, go_on, go_on, turn_back, go_on, go_on, go_on, start, go_on, go_on, go_on,
)  # fmt: skip


async def test_killed_at_any_write_it_opens_with_the_state_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write, rename and removal of a history is the last one once."""
    clock, real_write, real_replace, real_unlink = (
        HandClock(), files.write_atomically, Path.replace, Path.unlink,
    )  # fmt: skip
    data = tmp_path / "data"
    an_authority(data, clock)
    killed = 0
    for number, step in enumerate(STEPS):
        left = 0
        while True:
            trial = tmp_path / f"trial-{number}-{left}"
            shutil.copytree(data, trial)
            authority = an_authority(trial, clock)
            before = authority.rotation
            budget = left

            def spend() -> None:
                nonlocal budget
                if not budget:
                    raise Killed
                budget -= 1

            def write(path: Path, content: bytes, mode: int = files.PRIVATE) -> None:
                spend()
                real_write(path, content, mode)

            def replace(self: Path, target: Path) -> Path:
                if not self.name.startswith("."):  # the writes' own are counted there
                    spend()
                return real_replace(self, target)

            def unlink(self: Path, missing_ok: bool = False) -> None:
                if self.suffix == ".pem" and self.exists():
                    spend()
                real_unlink(self, missing_ok)

            with monkeypatch.context() as patch:
                patch.setattr(files, "write_atomically", write)
                patch.setattr(Path, "replace", replace)
                patch.setattr(Path, "unlink", unlink)
                try:
                    await step(authority)
                    finished = True
                except Killed:
                    finished = False
                    killed += 1
            again = an_authority(trial, clock)
            await verifies(again)
            assert _same(again.rotation, authority.rotation) or _same(again.rotation, before)
            if finished:
                shutil.rmtree(data)
                shutil.copytree(trial, data)
                break
            left += 1
    assert killed > 2 * len(STEPS)


def _same(one: Rotation, other: Rotation) -> bool:
    return (one.stage, one.bundle, one.signing, one.base, one.goal) == (
        other.stage,
        other.bundle,
        other.signing,
        other.base,
        other.goal,
    )


async def test_files_of_two_backups_do_not_mix(tmp_path: Path) -> None:
    clock = HandClock()
    authority = an_authority(tmp_path, clock)
    old = (tmp_path / "ca" / "root.pem").read_bytes()
    await start(authority)
    while authority.rotation.stage is not Stage.STABLE:
        await go_on(authority)
    (tmp_path / "ca" / "root.pem").write_bytes(old)
    with pytest.raises(DamagedAuthority, match="from one backup"):
        an_authority(tmp_path, clock)
    (tmp_path / "ca" / "rotation.json").write_text("{}")
    with pytest.raises(DamagedAuthority, match="rotation"):
        an_authority(tmp_path, clock)


async def test_a_root_that_has_ended_is_left_behind_but_never_returned_to(tmp_path: Path) -> None:
    """A rotation that waits while the old root ends goes on with the new one; it cannot be turned back any more."""
    clock = HandClock()
    authority = an_authority(tmp_path, clock)
    clock.move(timedelta(days=3000))
    authority = an_authority(tmp_path, clock)
    await start(authority)
    await go_on(authority)
    clock.move(timedelta(days=1000))
    authority = an_authority(tmp_path, clock)
    await verifies(authority)
    with pytest.raises(AuthorityExpired):
        await turn_back(authority)
    assert authority.rotation.stage is Stage.SIGNING
    await go_on(authority)
    await go_on(authority)
    await verifies(an_authority(tmp_path, clock))


async def test_an_intermediate_renews_itself_while_a_rotation_goes_on(tmp_path: Path) -> None:
    """It stays of its generation, so that nobody is waited for once more."""
    clock = HandClock()
    authority = an_authority(tmp_path, clock)
    await start(authority)
    await go_on(authority)
    before = await authority.issue(a_leaf_request())
    clock.move(timedelta(days=200))
    after = await authority.issue(a_leaf_request())
    assert certificates(after.chain_pem)[1] != certificates(before.chain_pem)[1]
    assert after.generation == before.generation == 2
    await verifies(an_authority(tmp_path, clock))
    await turn_back(authority)
    assert (await authority.issue(a_leaf_request())).generation == 1
    await verifies(authority)
