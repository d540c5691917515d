"""Files of certificates: read when they are named, again when they change, and kept while nothing better is there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ca.edge_secrets import EdgeSecret, certificate
from mesh.events import Declared, SourceSnapshot
from mesh.names import Key
from mesh.secrets import SecretFiles
from mesh.state import MeshState
from meshwright.certificates import Certificates
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from tests.support.traffic.edge import PublicAuthority
from tests.support.traffic.odd_certificates import of_an_unknown_curve, of_an_unknown_version

A = Key("default", "a")


class Shelf:
    """Files, a state with one Secret or none, and what was told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.authority = PublicAuthority()
        self.now = datetime.now(UTC)
        self.told: list[frozenset[Key]] = []
        self.certificates = Certificates(root, self.data, lambda: self.now)

    async def look(self, *secrets: SecretFiles) -> list[frozenset[Key]]:
        """Which secrets are told of as changed."""
        declared = tuple(Declared("Secret", each) for each in secrets)
        state, _ = MeshState("mesh.test").apply(SourceSnapshot("test", declared=declared))
        self.told.clear()
        await self.certificates.look(state, self.told.append)
        return self.told

    def issue(self) -> None:
        self.authority.issue(self.root / "a.pem", self.root / "a.key", "a.example.com")

    def served(self) -> list[str]:
        return [each.name for each in self.certificates.resources([A], [(A,)])]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


PAIR = SecretFiles(A, "a.pem", "a.key")


async def test_it_is_read_once_and_again_when_it_changes(shelf: Shelf) -> None:
    shelf.issue()
    assert await shelf.look(PAIR) == [{A}]
    assert shelf.served() == ["gateway/default/a"]
    assert shelf.certificates.loaded.certificates == {A}
    assert await shelf.look(PAIR) == []
    shelf.issue()
    assert await shelf.look(PAIR) == [{A}]


async def test_what_is_broken_leaves_what_was_there(shelf: Shelf) -> None:
    shelf.issue()
    await shelf.look(PAIR)
    before = shelf.certificates.resources([A], [(A,)])
    (shelf.root / "a.key").write_text("nonsense")
    assert await shelf.look(PAIR) == []
    assert "holds no private key" in shelf.certificates.problem(A)
    assert "stays in force" in shelf.certificates.problem(A)
    (shelf.root / "a.key").unlink()
    assert await shelf.look(PAIR) == []
    assert shelf.certificates.resources([A], [(A,)]) == before
    shelf.issue()
    assert await shelf.look(PAIR) == [{A}]
    assert shelf.certificates.problem(A) == ""


async def test_a_file_may_come_later(shelf: Shelf) -> None:
    assert await shelf.look(PAIR) == []
    assert "cannot be read" in shelf.certificates.problem(A)
    assert shelf.served() == []
    shelf.issue()
    assert await shelf.look(PAIR) == [{A}]


async def test_a_document_that_goes_takes_its_secret_along(shelf: Shelf) -> None:
    shelf.issue()
    await shelf.look(PAIR)
    assert await shelf.look() == [{A}]
    assert shelf.served() == []
    assert not shelf.certificates.loaded.certificates


async def test_authorities_have_a_name_of_their_own(shelf: Shelf) -> None:
    (shelf.root / "ca.pem").write_bytes(shelf.authority.pem)
    await shelf.look(SecretFiles(A, authorities="ca.pem"))
    assert shelf.served() == ["gateway/default/a/authorities"]
    (resource,) = shelf.certificates.resources([A], [(A,)])
    assert Secret.FromString(resource.body).validation_context.trusted_ca.inline_bytes == shelf.authority.pem


async def test_the_control_planes_own_keys_are_never_served(shelf: Shelf) -> None:
    shelf.data.mkdir()
    shelf.authority.issue(shelf.data / "a.pem", shelf.data / "a.key", "a.example.com")
    (shelf.root / "link").symlink_to(shelf.data)
    for folder in ("data", "link", "x/../data"):
        assert await shelf.look(SecretFiles(A, f"{folder}/a.pem", f"{folder}/a.key")) == []
        assert "own data directory" in shelf.certificates.problem(A)


async def test_an_end_is_told_of(shelf: Shelf) -> None:
    shelf.issue()
    await shelf.look(PAIR)
    assert shelf.certificates.first_expiry() is not None
    shelf.now += timedelta(days=2)
    assert "has ended" in shelf.certificates.problem(A)


async def test_a_relative_path_needs_a_directory(tmp_path: Path) -> None:
    certificates = Certificates(None, tmp_path, lambda: datetime.now(UTC))
    state, _ = MeshState("mesh.test").apply(SourceSnapshot("test", declared=(Declared("Secret", PAIR),)))
    await certificates.look(state, lambda _: None)
    assert "use an absolute path" in certificates.problem(A)


B = Key("default", "b")


async def assert_only_a_is_in_trouble(shelf: Shelf, told: str) -> None:
    """That `a`, as it is now, is refused with words that tell why, and `b`, looked at after it, is served."""
    shelf.authority.issue(shelf.root / "b.pem", shelf.root / "b.key", "b.example.com")
    assert await shelf.look(PAIR, SecretFiles(B, "b.pem", "b.key")) == [{B}]
    assert told in shelf.certificates.problem(A)
    assert shelf.certificates.problem(B) == ""
    assert shelf.certificates.loaded.certificates == {B}


async def test_a_curve_that_nobody_knows_is_the_trouble_of_one(shelf: Shelf) -> None:
    shelf.issue()
    (shelf.root / "a.pem").write_bytes(of_an_unknown_curve((shelf.root / "a.pem").read_bytes()))
    await assert_only_a_is_in_trouble(shelf, "of a kind or curve that Envoy does not take")


async def test_a_version_that_there_is_not_is_the_trouble_of_one(shelf: Shelf) -> None:
    shelf.issue()
    (shelf.root / "a.pem").write_bytes(of_an_unknown_version((shelf.root / "a.pem").read_bytes()))
    await assert_only_a_is_in_trouble(shelf, "of a version that X.509 does not have")


async def test_a_link_that_leads_to_itself_is_the_trouble_of_one(shelf: Shelf) -> None:
    (shelf.root / "a.pem").symlink_to("c.pem")
    (shelf.root / "c.pem").symlink_to("a.pem")
    await assert_only_a_is_in_trouble(shelf, "leads back to itself")


async def test_of_what_nobody_thought_of_only_the_kind_is_told(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.issue()

    def broken(name: str, chain: Path, key: Path) -> EdgeSecret:
        """A fault: a parser that fails at `a` in a way that none is known to, and says what it has read."""
        if chain.name == "a.pem":
            raise ArithmeticError(key.read_text())
        return certificate(name, chain, key)

    monkeypatch.setattr("meshwright.certificates.certificate", broken)
    await assert_only_a_is_in_trouble(shelf, "(ArithmeticError)")
    assert "PRIVATE" not in shelf.certificates.problem(A)
