"""Following an authority that is kept elsewhere, when not all goes well."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from ca import files
from ca.errors import CannotRotate
from ca.from_files import AuthorityFiles, FilesAuthority
from ca.outside import BUNDLE, OutsideAuthority
from ca.shared import Making
from ca.times import system_clock
from ca.vault import VaultAuthority, VaultOptions
from kube.access import ClusterOptions
from kube.client import Cluster
from meshwright.authority import follow, open_authority
from meshwright.kubernetes.authority import SecretAuthority
from meshwright.kubernetes.concerns import Concerns
from meshwright.settings import Settings
from tests.support.ca_builders import TRUST_DOMAIN
from tests.support.corporate import Corporate, pem

DEADLINE = 10


def opened(where: AuthorityFiles, data: Path) -> OutsideAuthority:
    data.mkdir()
    return OutsideAuthority(FilesAuthority.open(where, TRUST_DOMAIN, system_clock), data, system_clock)


async def test_a_bundle_that_could_not_be_written_is_seen_by_nobody_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, which is made up: it would take a file system of its own."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    corporate, other, data = Corporate(), Corporate("Other"), tmp_path / "data"
    where = corporate.write(tmp_path)
    authority = opened(where, data)
    assert not await authority.follow()
    before = authority.roots(), authority.rotation
    where.roots.write_bytes(both := pem(corporate.root) + pem(other.root))
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        for _ in range(2):
            with pytest.raises(OSError):
                await authority.follow()
            assert (authority.roots(), authority.rotation) == before
            assert (data / BUNDLE).read_bytes() == pem(corporate.root)
    assert await authority.follow()
    assert (data / BUNDLE).read_bytes() == authority.roots().pem == both
    ids = tuple(each.fingerprint(hashes.SHA256()).hex() for each in (corporate.root, other.root))
    assert authority.rotation.bundle == ids
    assert not await authority.follow()


async def test_who_could_not_be_told_of_a_new_bundle_is_told_later(tmp_path: Path) -> None:
    corporate, other = Corporate(), Corporate("Other")
    where = corporate.write(tmp_path)
    authority = opened(where, tmp_path / "data")
    where.roots.write_bytes(pem(corporate.root) + pem(other.root))
    tries, told = 0, asyncio.Event()

    async def changed() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(28, "No space left on device")
        told.set()

    following = asyncio.create_task(follow(authority, changed, every=0.01))
    async with asyncio.timeout(DEADLINE):
        await told.wait()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    assert tries == 2


def test_it_says_itself_how_its_root_is_changed(tmp_path: Path) -> None:
    status = opened(Corporate().write(tmp_path), tmp_path / "data").status()
    assert "changed where it is kept" in status.remedy
    assert "rotate" not in status.remedy


async def test_vaults_files_are_not_read_on_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_loop: list[bool] = []

    def noted(path: Path) -> bytes:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        with path.open("rb") as file:
            return file.read()

    monkeypatch.setattr(files, "read_private", noted)
    monkeypatch.setattr(Path, "read_bytes", noted)
    token, roots = tmp_path / "token", tmp_path / "roots.pem"
    token.write_text("hvs.x")
    roots.write_bytes(pem(Corporate().root))
    options = VaultOptions("http://127.0.0.1:9", "pki", "mesh", token)
    assert not await VaultAuthority(options, TRUST_DOMAIN, system_clock).look()  # nobody answers
    await VaultAuthority(
        VaultOptions(options.address, "pki", "mesh", token, roots_file=roots), TRUST_DOMAIN, system_clock
    ).open()
    assert on_the_loop == [False, False]


async def test_a_rotation_that_is_asked_for_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """That of whoever keeps the files, if there is one: a Secret that all replicas share has its own."""
    making = Making(TRUST_DOMAIN, timedelta(hours=1))
    cluster = Cluster(ClusterOptions(), clock=time.monotonic)  # nobody asks it
    shared = SecretAuthority(
        cluster, "mesh-system", "authority", tmp_path / "kept", making, system_clock, Concerns()
    ).files
    assert (
        'kubectl -n mesh-system annotate --overwrite secret authority meshwright.dev/rotate="'
        in shared.remedy
    )
    for given, wanted in (
        ("", "changed where it is kept"),
        (shared.remedy, "kubectl -n mesh-system annotate"),
    ):
        where = replace(Corporate().write(tmp_path), remedy=given)
        settings = Settings(trust_domain=TRUST_DOMAIN)
        authority = await open_authority(settings, tmp_path / f"data{len(given)}", where)
        assert isinstance(authority, OutsideAuthority)
        with pytest.raises(CannotRotate, match=wanted):
            await authority.prepare(root=True)
        assert wanted in authority.status().remedy
