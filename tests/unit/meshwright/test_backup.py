"""Backup and restore: what comes back is what was there, and a damaged archive makes nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import stat
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ca.builtin import BuiltinAuthority
from ca.errors import UnknownToken
from ca.ledger_file import LedgerFile
from ca.rotation import Holder, Leaf
from ca.signer import Signers
from ca.times import system_clock
from ca.tokens import TokenStore, token_id
from meshwright.audit import FILE
from meshwright.backup import MANIFEST, create, restore
from meshwright.cli import app
from meshwright.errors import SettingsError
from store.checking import check
from store.sqlite import SqliteBackend
from tests.support.ca_builders import TRUST_DOMAIN, an_authority
from tests.support.stores import a_repository, put


def a_data_dir(folder: Path) -> Path:
    data = folder / "data"
    an_authority(data)
    TokenStore(data).create("default", "api", now=system_clock())
    (data / "ca" / ".root.pem.1.tmp").write_text("half")
    return data


def test_what_comes_back_is_what_was_there(tmp_path: Path) -> None:
    data, archive, again = a_data_dir(tmp_path), tmp_path / "backup.tgz", tmp_path / "again"
    roots = an_authority(data).roots()
    create(data, archive, system_clock())
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    restore(archive, again)
    authority = an_authority(again)
    assert (authority.roots(), authority.created) == (roots, False)
    for path in again.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) in ({0o700} if path.is_dir() else {0o600, 0o644})
    assert not list(again.rglob("*.tmp"))


def test_leaves_issued_since_the_backup_are_reckoned_with(tmp_path: Path) -> None:
    data, archive, again = a_data_dir(tmp_path), tmp_path / "backup.tgz", tmp_path / "again"
    ends = system_clock() + timedelta(hours=24)
    ledger = LedgerFile.open(data / "ca", created=True, unrecorded_until=ends)
    create(data, archive, system_clock())
    ledger.ledger.issued(Leaf(1, Holder.AGENT, "default/api-1", "f", 1, ends))
    ledger.close()
    restore(archive, again)
    restored = LedgerFile.open(again / "ca", created=False, unrecorded_until=ends)
    assert [(leaf.holder, leaf.not_after) for leaf in restored.ledger.leaves()] == [(Holder.UNRECORDED, ends)]
    restored.close()


def test_a_token_revoked_since_the_backup_does_not_come_back(tmp_path: Path) -> None:
    data, archive, again = a_data_dir(tmp_path), tmp_path / "backup.tgz", tmp_path / "again"
    token = TokenStore(data).create("default", "api", now=system_clock())
    create(data, archive, system_clock())
    TokenStore(data).revoke(token_id(token))
    restore(archive, again)
    with pytest.raises(UnknownToken):
        TokenStore(again).redeem(token, "default", "api-1", system_clock())


def test_an_archive_of_an_earlier_version_brings_neither_back(tmp_path: Path) -> None:
    data, archive, again = a_data_dir(tmp_path), tmp_path / "backup.tgz", tmp_path / "again"
    create(data, archive, system_clock())
    old = {"ca/issued.json": b"0\n", "ca/issued-1.jsonl": b"", "tokens/aaaaaaaaaaaaaaaa.json": b"{}"}
    old["api-tokens/aaaaaaaaaaaaaaaa.json"] = b"{}"
    with tarfile.open(archive) as tar:
        file = tar.extractfile(MANIFEST)
        assert file is not None
        manifest = json.loads(file.read())
    manifest["files"] |= {name: hashlib.sha256(content).hexdigest() for name, content in old.items()}
    archive.write_bytes(rewritten(archive.read_bytes(), {**old, MANIFEST: json.dumps(manifest).encode()}))
    restore(archive, again)
    assert not list((again / "ca").glob("issued*"))
    assert not (again / "tokens").exists()
    assert not (again / "api-tokens").exists()


def test_the_commands_tell_the_audit_log_and_warn(tmp_path: Path) -> None:
    data, archive, again = a_data_dir(tmp_path), tmp_path / "backup.tgz", tmp_path / "again"
    run = CliRunner()
    saved = run.invoke(app, ["backup", str(archive), "--data-dir", str(data)])
    assert (saved.exit_code, "not encrypted: who has it is the mesh" in saved.output) == (0, True)
    assert "backup made" in (data / FILE).read_text()
    back = run.invoke(app, ["restore", str(archive), "--data-dir", str(again)])
    assert back.exit_code == 0, back.output
    assert "join tokens are not brought back" in back.output
    assert "backup restored" in (again / FILE).read_text()


def test_sealed_keys_stay_sealed(tmp_path: Path) -> None:
    data, archive = tmp_path / "data", tmp_path / "backup.tgz"
    signers = Signers(passphrase=b"correct horse battery staple")
    BuiltinAuthority.open(data, TRUST_DOMAIN, system_clock, signers)
    assert create(data, archive, system_clock()).sealed
    assert b"BEGIN PRIVATE KEY" not in gzip.decompress(archive.read_bytes())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    data, archive = a_data_dir(tmp_path), tmp_path / "backup.tgz"
    create(data, archive, system_clock())
    with pytest.raises(SettingsError, match="is there already"):
        create(data, archive, system_clock())
    with pytest.raises(SettingsError, match="is not empty"):
        restore(archive, data)
    with pytest.raises(SettingsError, match="no control plane has worked"):
        create(tmp_path / "mistyped", tmp_path / "other.tgz", system_clock())


def test_a_damaged_archive_makes_nothing(tmp_path: Path) -> None:
    data, archive, again = a_data_dir(tmp_path), tmp_path / "backup.tgz", tmp_path / "again"
    create(data, archive, system_clock())
    whole = archive.read_bytes()
    cut = whole[: len(whole) // 2]
    changed = rewritten(whole, {"ca/root.pem": b"another"})
    climbing = rewritten(whole, {"../evil": b"x"})
    for content in (b"", b"no archive", cut, changed, climbing, rewritten(whole, {}, without=MANIFEST)):
        archive.write_bytes(content)
        with pytest.raises(SettingsError, match=r"is not a backup of Meshwright, or is damaged"):
            restore(archive, again)
        assert not again.exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tgz", "data"]
    with pytest.raises(SettingsError, match="No such file"):
        restore(tmp_path / "nowhere.tgz", again)


def rewritten(whole: bytes, changed: dict[str, bytes], without: str = "") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(whole)) as old, tarfile.open(fileobj=made, mode="w:gz") as new:
        contents = {}
        for entry in old:
            file = old.extractfile(entry)
            contents[entry.name] = file.read() if file else b""
        for name, content in {**contents, **changed}.items():
            if name != without:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                new.addfile(entry, io.BytesIO(content))
    return made.getvalue()


async def test_the_store_comes_back_with_all_its_revisions(tmp_path: Path) -> None:
    data, archive, again = a_data_dir(tmp_path), tmp_path / "backup.tgz", tmp_path / "again"
    in_use = await SqliteBackend.open(data / "store.db")
    repository = a_repository(in_use)
    for number in range(5):
        await repository.commit([put("a", {"n": number})], author="ada")
    async with in_use.lock("job"):
        create(data, archive, system_clock())
    await repository.commit([put("a", {"n": 5})], author="ada")
    await in_use.close()
    restore(archive, again)
    assert sorted(path.name for path in again.iterdir() if "store" in path.name) == ["store.db"]
    assert stat.S_IMODE((again / "store.db").stat().st_mode) == 0o600
    restored = await SqliteBackend.open(again / "store.db")
    assert (await check(a_repository(restored))).revisions == 5
    await a_repository(restored).commit([put("b")], author="ada")
    await restored.close()
