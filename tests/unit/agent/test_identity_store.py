from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import DamagedIdentity
from agent.identity_store import IdentityStore, StoredIdentity, parse_identity
from ca.builtin import BuiltinAuthority
from mesh.workload import Locality
from tests.support.ca_builders import API, API_1, START, Credentials, HandClock, an_authority


async def an_identity(authority: BuiltinAuthority) -> StoredIdentity:
    held = await Credentials.issue(authority)
    return parse_identity(held.key, held.chain, authority.roots().pem)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / "agent")
    assert store.load() is None
    identity = await an_identity(an_authority(tmp_path, HandClock()))
    store.save(identity)
    assert IdentityStore(tmp_path / "agent").load() == identity
    assert (identity.identity, identity.workload, identity.issued) == (API, API_1, START)
    assert identity.not_after == START + timedelta(hours=1)


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / "agent")
    store.save(await an_identity(an_authority(tmp_path)))
    store.pending_key()
    paths = store.paths()
    assert mode(tmp_path / "agent") == mode(paths.watched) == mode(paths.key.parent) == 0o700
    assert {
        mode(each) for each in (paths.key, paths.chain, paths.roots, tmp_path / "agent" / "pending.key")
    } == {0o600}


async def test_a_renewal_replaces_all_files_by_one_rename(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / "agent")
    authority = an_authority(tmp_path)
    paths = store.paths()
    seen: list[Path] = []
    for _ in range(4):
        identity = await an_identity(authority)
        store.save(identity)
        assert paths == store.paths()
        assert paths.key.read_bytes() == identity.key_pem
        assert paths.chain.read_bytes() == identity.chain_pem
        seen.append(paths.key.resolve())
    assert len(set(seen)) == 4
    assert [path.exists() for path in seen] == [False, False, True, True]


async def test_a_crash_before_the_rename_leaves_the_old_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = IdentityStore(tmp_path / "agent")
    authority = an_authority(tmp_path)
    first, second = await an_identity(authority), await an_identity(authority)
    store.save(first)

    def crash(*_: object) -> None:  # a fault that the real thing cannot be made to show at this very moment
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "symlink_to", crash)
        with pytest.raises(OSError, match="Input/output"):
            store.save(second)
    assert store.load() == first
    store.save(second)
    assert store.load() == second


async def test_damage_is_named_with_the_way_out(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / "agent")
    authority = an_authority(tmp_path)
    store.save(await an_identity(authority))
    paths = store.paths()
    other = await Credentials.issue(authority)
    good = paths.key.read_bytes()
    for damage in (b"", b"junk", other.key):
        paths.key.write_bytes(damage)
        with pytest.raises(DamagedIdentity, match="new token"):
            store.load()
    paths.key.write_bytes(good)
    paths.key.chmod(0o644)
    with pytest.raises(DamagedIdentity, match="0644"):
        store.load()
    paths.key.chmod(0o600)
    paths.roots.unlink()
    with pytest.raises(DamagedIdentity):
        store.load()


async def test_the_pending_key_is_the_same_until_it_is_certified(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / "agent")
    first = store.pending_key().private_numbers()
    assert IdentityStore(tmp_path / "agent").pending_key().private_numbers() == first
    (tmp_path / "agent" / "pending.key").write_bytes(b"junk")
    second = store.pending_key().private_numbers()
    assert second != first
    store.save(await an_identity(an_authority(tmp_path)))
    assert store.pending_key().private_numbers() != second


async def test_no_repr_shows_a_key(tmp_path: Path) -> None:
    identity = await an_identity(an_authority(tmp_path))
    assert "PRIVATE" not in repr(identity)
    assert identity.key_pem.split(b"\n")[1].decode() not in repr(identity)


async def test_foreign_trust_domains_are_kept_with_it(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / "agent")
    other = an_authority(tmp_path / "other", trust_domain="b.example").roots()
    identity = replace(await an_identity(an_authority(tmp_path)), federated=(other,))
    store.save(identity)
    assert IdentityStore(tmp_path / "agent").load() == identity
    store.save(replace(identity, federated=()))
    assert IdentityStore(tmp_path / "agent").load() == replace(identity, federated=())


@pytest.mark.parametrize(
    "content", [b"[]", b"x", b'{"b.example": 1}', b'{"b.example": "x"}', b'{"example.org": ""}']
)
async def test_a_damaged_list_of_foreign_trust_domains(tmp_path: Path, content: bytes) -> None:
    store = IdentityStore(tmp_path / "agent")
    store.save(await an_identity(an_authority(tmp_path)))
    (store.paths().roots.parent / "federated.json").write_bytes(content)
    with pytest.raises(DamagedIdentity, match="remove that directory"):
        store.load()


async def test_other_names_of_the_mesh_are_kept_with_it(tmp_path: Path) -> None:
    authority = an_authority(tmp_path)
    held = await Credentials.issue(authority)
    names = (authority.roots().trust_domain, "new.org", "newer.org")
    identity = parse_identity(held.key, held.chain, authority.roots().pem, trust_domains=names)
    assert identity.aliases == ("new.org", "newer.org")
    store = IdentityStore(tmp_path / "agent")
    store.save(identity)
    assert store.load() == identity
    (store.paths().key.parent / "aliases.json").write_bytes(b'["New.org"]')
    with pytest.raises(DamagedIdentity, match=r"aliases\.json cannot be read"):
        store.load()


async def test_the_place_is_kept_with_it(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path / "agent")
    identity = replace(await an_identity(an_authority(tmp_path)), locality=Locality("eu", "a", "r1"))
    store.save(identity)
    assert store.load() == identity
    for content in (b"[]", b"x", b'{"zone": 1}', b'{"rack": "r1"}'):
        (store.paths().key.parent / "locality.json").write_bytes(content)
        with pytest.raises(DamagedIdentity, match=r"locality\.json cannot be read"):
            store.load()
