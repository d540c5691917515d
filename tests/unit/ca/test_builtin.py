from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca import files
from ca.authority import TrustBundle
from ca.builtin import BuiltinAuthority
from ca.errors import (
    AuthorityError,
    AuthorityExpired,
    AuthorityNotYetValid,
    DamagedAuthority,
    InsecureFile,
    WrongTrustDomain,
)
from ca.keys import key_pem
from ca.signer import Signers
from ca.times import system_clock
from mesh.identity import Identity
from tests.support.ca_builders import (
    API,
    START,
    TRUST_DOMAIN,
    HandClock,
    a_leaf_request,
    an_authority,
    certificates,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    authority = an_authority(data)
    assert mode(data) == mode(data / "ca") == 0o700
    assert mode(data / "ca" / "root.pem") == mode(data / "ca" / "intermediate.pem") == 0o600
    assert authority.bundle_path.read_bytes() == authority.roots().pem
    assert b"PRIVATE" not in authority.bundle_path.read_bytes()


async def test_opened_again_it_is_the_same_authority(tmp_path: Path) -> None:
    first = an_authority(tmp_path)
    second = an_authority(tmp_path)
    assert second.roots() == first.roots()
    assert (await second.issue(a_leaf_request())).chain_pem.count(b"BEGIN CERTIFICATE") == 2


async def test_a_leaf_is_verified_by_the_roots(tmp_path: Path) -> None:
    clock = HandClock()
    authority = an_authority(tmp_path, clock)
    issued = await authority.issue(a_leaf_request())
    leaf, intermediate = certificates(issued.chain_pem)
    (root,) = certificates(authority.roots().pem)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert issued.not_before == START - timedelta(minutes=5)
    assert issued.not_after == START + timedelta(hours=24)
    assert leaf.serial_number == issued.serial
    status = authority.status()
    assert status.root_not_after == START + timedelta(days=3650)
    assert status.intermediate_not_after == START + timedelta(days=365)


def test_a_directory_of_the_users_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    an_authority(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "ca")) == (0o755, 0o700)


def test_another_trust_domain_is_refused(tmp_path: Path) -> None:
    an_authority(tmp_path)
    with pytest.raises(WrongTrustDomain, match=r"'example\.org', not of 'other\.org'"):
        an_authority(tmp_path, trust_domain="other.org")


async def test_an_identity_of_another_trust_domain_is_not_certified(tmp_path: Path) -> None:
    with pytest.raises(WrongTrustDomain):
        await an_authority(tmp_path).issue(a_leaf_request(Identity("other.org", "default", "api")))


async def test_the_intermediate_renews_itself_at_half_of_its_life(tmp_path: Path) -> None:
    clock = HandClock()
    authority = an_authority(tmp_path, clock)
    before = certificates((await authority.issue(a_leaf_request())).chain_pem)[1]
    clock.move(timedelta(days=183))
    issued = await asyncio.gather(*(authority.issue(a_leaf_request()) for _ in range(5)))
    after = {certificates(each.chain_pem)[1].serial_number for each in issued}
    assert len(after) == 1
    assert before.serial_number not in after
    certificates(issued[0].chain_pem)[1].verify_directly_issued_by(certificates(authority.roots().pem)[0])
    # Another process takes the renewed one, not one more.
    reopened = await an_authority(tmp_path, clock).issue(a_leaf_request())
    assert certificates(reopened.chain_pem)[1].serial_number in after


async def test_nothing_outlives_the_root(tmp_path: Path) -> None:
    clock = HandClock()
    authority = an_authority(tmp_path, clock)
    end = authority.status().root_not_after
    clock.now = end - timedelta(hours=1)
    assert (await authority.issue(a_leaf_request())).not_after == end
    clock.now = end
    with pytest.raises(AuthorityExpired, match="trust bundle"):
        await authority.issue(a_leaf_request())
    with pytest.raises(AuthorityExpired):
        an_authority(tmp_path, clock)


@pytest.mark.parametrize("junk", [b"", b"half of a key", None])
async def test_a_half_made_intermediate_is_made_anew(tmp_path: Path, junk: bytes | None) -> None:
    root = an_authority(tmp_path).roots()
    path = tmp_path / "ca" / "intermediate.pem"
    if junk is None:
        path.unlink()
    else:
        path.write_bytes(junk)
    (tmp_path / "ca" / ".root.pem.99.tmp").write_bytes(b"left by a crash")
    authority = an_authority(tmp_path)
    assert authority.roots() == root
    leaf, intermediate = certificates((await authority.issue(a_leaf_request())).chain_pem)
    leaf.verify_directly_issued_by(intermediate)
    assert not list((tmp_path / "ca").glob("*.tmp")) + list((tmp_path / "ca").glob(".*.tmp"))


def test_an_intermediate_of_another_root_is_not_used(tmp_path: Path) -> None:
    an_authority(tmp_path / "one")
    an_authority(tmp_path / "two")
    foreign = (tmp_path / "two" / "ca" / "intermediate.pem").read_bytes()
    (tmp_path / "one" / "ca" / "intermediate.pem").write_bytes(foreign)
    an_authority(tmp_path / "one")
    assert (tmp_path / "one" / "ca" / "intermediate.pem").read_bytes() != foreign


@pytest.mark.parametrize(
    "junk", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None]
)
def test_a_lost_root_is_never_replaced(tmp_path: Path, junk: bytes | None) -> None:
    an_authority(tmp_path)
    path = tmp_path / "ca" / "root.pem"
    if junk is None:
        path.unlink()
    else:
        path.write_bytes(junk)
    with pytest.raises(DamagedAuthority, match="backup"):
        an_authority(tmp_path)
    assert not path.exists() or path.read_bytes() == junk


@pytest.mark.parametrize("trace", ["roots.pem", "tokens", "last-good"])
def test_a_lost_authority_is_not_replaced_in_silence(tmp_path: Path, trace: str) -> None:
    first = an_authority(tmp_path)
    assert first.created
    assert not an_authority(tmp_path).created
    shutil.rmtree(tmp_path / "ca")
    roots = tmp_path / "roots.pem"
    if trace != "roots.pem":
        roots.unlink()
        (tmp_path / trace).mkdir()
    with pytest.raises(DamagedAuthority, match=rf"has {trace} of.*backup; or move ca, roots\.pem, .* away"):
        an_authority(tmp_path)
    assert not (tmp_path / "ca").exists()  # a backup is restored to where nothing is
    if trace == "roots.pem":
        assert roots.read_bytes() == first.roots().pem
        roots.unlink()
    else:
        (tmp_path / trace).rmdir()
    # As the error says: without a trace, a new authority begins, and says that it is one.
    assert an_authority(tmp_path).created


async def test_an_intermediate_that_is_not_valid_yet_is_made_anew(tmp_path: Path) -> None:
    clock = HandClock()
    root = an_authority(tmp_path, clock).roots()
    clock.move(timedelta(days=200))  # the clock is wrong for a while, and the intermediate renews itself
    running = an_authority(tmp_path, clock)
    clock.now = START + timedelta(hours=1)
    for authority in (running, an_authority(tmp_path, clock)):
        issued = await authority.issue(a_leaf_request())
        leaf, intermediate = certificates(issued.chain_pem)
        assert intermediate.not_valid_before_utc <= clock.now
        assert (issued.not_after - clock.now, authority.roots()) == (timedelta(hours=24), root)
        leaf.verify_directly_issued_by(intermediate)


async def test_a_root_that_is_not_valid_yet_is_an_error_that_names_the_clock(tmp_path: Path) -> None:
    clock = HandClock()
    running = an_authority(tmp_path, clock)
    content = (tmp_path / "ca" / "intermediate.pem").read_bytes()
    clock.move(timedelta(days=-1))
    with pytest.raises(
        AuthorityNotYetValid, match=r"valid from 2029-12-31 23:55.*says 2029-12-31 00:00.*clock"
    ):
        an_authority(tmp_path, clock)
    with pytest.raises(AuthorityNotYetValid):
        await running.issue(a_leaf_request())
    assert (tmp_path / "ca" / "intermediate.pem").read_bytes() == content
    clock.move(timedelta(days=1))
    await running.issue(a_leaf_request())


async def test_what_cannot_be_certified_is_an_error_of_the_authority(tmp_path: Path) -> None:
    # A serial that no certificate may have: what the library refuses by a ValueError.
    numbers = iter([1, 2, -1])
    authority = BuiltinAuthority.open(tmp_path, TRUST_DOMAIN, system_clock, Signers(lambda: next(numbers)))
    with pytest.raises(AuthorityError, match=r"cannot certify spiffe://example\.org/ns/default/sa/api from"):
        await authority.issue(a_leaf_request())


def test_a_root_with_the_key_of_another_is_refused(tmp_path: Path) -> None:
    an_authority(tmp_path / "one")
    an_authority(tmp_path / "two")
    one, two = tmp_path / "one" / "ca" / "root.pem", tmp_path / "two" / "ca" / "root.pem"
    begin = b"-----BEGIN CERTIFICATE"
    one.write_bytes(one.read_bytes().partition(begin)[0] + begin + two.read_bytes().partition(begin)[2])
    with pytest.raises(DamagedAuthority):
        an_authority(tmp_path / "one")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    an_authority(tmp_path)
    (tmp_path / "ca" / "root.pem").chmod(0o640)
    with pytest.raises(InsecureFile, match=r"mode 0640.*chmod 600"):
        an_authority(tmp_path)


def _open(directory: str, roots: multiprocessing.Queue[bytes]) -> None:
    roots.put(BuiltinAuthority.open(Path(directory), TRUST_DOMAIN, system_clock).roots().pem)


def test_two_processes_make_one_root(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    roots: multiprocessing.Queue[bytes] = context.Queue()
    processes = [context.Process(target=_open, args=(str(tmp_path), roots)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {roots.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert found == {(tmp_path / "roots.pem").read_bytes()}


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A fault that a real disk shows too rarely for a test: the write fails half-way.
    path = tmp_path / "key.pem"
    files.write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["key.pem"]


def test_no_repr_shows_a_key(tmp_path: Path) -> None:
    an_authority(tmp_path)
    signer = Signers().read(tmp_path / "ca" / "root.pem")
    body = key_pem(signer.key).split(b"\n")[1].decode()
    assert body not in repr(signer)
    assert "key=…" in repr(signer)


async def test_serials_come_from_the_argument(tmp_path: Path) -> None:
    numbers = iter(range(1, 100))
    authority = BuiltinAuthority.open(tmp_path, TRUST_DOMAIN, system_clock, Signers(lambda: next(numbers)))
    assert [(await authority.issue(a_leaf_request(API))).serial for _ in range(3)] == [3, 4, 5]
    assert x509.random_serial_number().bit_length() <= 159


async def test_an_alias_may_have_the_root_and_signers_of_leaves_are_of_their_trust_domain(
    tmp_path: Path,
) -> None:
    roots = an_authority(tmp_path).roots().roots
    moved = BuiltinAuthority.open(tmp_path, "new.org", system_clock, aliases=(TRUST_DOMAIN,))
    assert moved.roots() == TrustBundle("new.org", roots)
    assert moved.root_trust_domains == {TRUST_DOMAIN}
    issued = await moved.issue(a_leaf_request(Identity("new.org", "default", "api")))
    leaf, intermediate = x509.load_pem_x509_certificates(issued.chain_pem)
    leaf.verify_directly_issued_by(intermediate)
    names = intermediate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://new.org"]
    with pytest.raises(WrongTrustDomain):
        await moved.issue(a_leaf_request())  # of the former one nothing is issued
    with pytest.raises(WrongTrustDomain, match=r"docs/security\.md"):
        BuiltinAuthority.open(tmp_path, "new.org", system_clock)
