from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.edge_secrets import MAX_BYTES, UnusableFile, authorities, certificate
from pb.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from tests.support.traffic.edge import PublicAuthority


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    PublicAuthority().issue(tmp_path / "a.pem", tmp_path / "a.key", "a.example.com")
    return tmp_path / "a.pem", tmp_path / "a.key"


def key_text(key: object, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    written = key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    assert isinstance(written, bytes)
    return written


def test_a_pair_becomes_a_secret(files: tuple[Path, Path]) -> None:
    made = certificate("gateway/default/a", *files)
    secret = Secret.FromString(made.resource)
    assert secret.name == "gateway/default/a"
    assert secret.tls_certificate.certificate_chain.inline_bytes == files[0].read_bytes()
    assert secret.tls_certificate.private_key.inline_bytes == files[1].read_bytes()
    assert certificate("gateway/default/a", *files) == made, "the same bytes for the same files"


def test_authorities_become_a_validation_context(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(PublicAuthority().pem + PublicAuthority().pem)
    secret = Secret.FromString(authorities("x", tmp_path / "ca.pem").resource)
    assert secret.validation_context.trusted_ca.inline_bytes.count(b"BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"nonsense", "holds no private key in PEM"),
        (key_text(ec.generate_private_key(ec.SECP256R1())), "is not that of the first certificate"),
        (key_text(ec.generate_private_key(ec.SECP256R1()), b"word"), "has a passphrase"),
        (key_text(ed25519.Ed25519PrivateKey.generate()), "of a kind that Envoy does not take"),
        (
            key_text(rsa.generate_private_key(65537, 1024)),  # noqa: S505 (that is the point)
            "of a kind that Envoy does not take",
        ),
        (key_text(ec.generate_private_key(ec.SECP256K1())), "of a kind that Envoy does not take"),
        (b"x" * (MAX_BYTES + 1), "has more than"),
    ],
    ids=["junk", "other", "passphrase", "ed25519", "short", "curve", "large"],
)
def test_a_key_that_cannot_be_used_is_told_and_not_shown(
    files: tuple[Path, Path], content: bytes, told: str
) -> None:
    files[1].write_bytes(content)
    with pytest.raises(UnusableFile, match=told) as caught:
        certificate("a", *files)
    assert content[40:60].decode() not in str(caught.value) or len(content) < 40


@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o640, True), (0o644, False), (0o660, False)])
def test_a_key_that_others_may_read_is_refused(files: tuple[Path, Path], mode: int, *, fine: bool) -> None:
    files[1].chmod(mode)
    if fine:
        certificate("a", *files)
        return
    with pytest.raises(UnusableFile, match=f"mode {mode:04o}.*chmod 600"):
        certificate("a", *files)


def test_a_file_that_is_not_there_or_holds_no_certificate(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="cannot be read"):
        certificate("a", tmp_path / "no.pem", files[1])
    with pytest.raises(UnusableFile, match="holds no certificates"):
        certificate("a", files[1], files[1])


@pytest.mark.timeout(10)
@pytest.mark.parametrize("written", [False, True])
def test_a_fifo_is_refused_and_not_waited_for(
    files: tuple[Path, Path], tmp_path: Path, *, written: bool
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    writer = os.open(fifo, os.O_RDWR) if written else None
    try:
        with pytest.raises(UnusableFile, match="is no regular file"):
            certificate("a", fifo, files[1])
        with pytest.raises(UnusableFile, match="is no regular file"):
            certificate("a", files[0], fifo)
        with pytest.raises(UnusableFile, match="is no regular file"):
            authorities("a", fifo)
    finally:
        if writer is not None:
            os.close(writer)


def test_a_directory_and_a_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="cannot be read"):
        authorities("a", tmp_path)
    with pytest.raises(UnusableFile, match="is no regular file"):
        authorities("a", Path("/dev/zero"))
