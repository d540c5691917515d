"""An authority, a join service on real ports, and a clock that is moved by hand."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca import control_plane
from ca.authority import LeafRequest
from ca.builtin import BuiltinAuthority
from ca.csr import SigningRequest, make_csr
from ca.join import JoinEvent, JoinService
from ca.keys import key_pem, new_key
from ca.proof import Proof
from ca.proof_limit import ProofLimit
from ca.proof_token import TokenProof
from ca.rate_limit import AttemptLimit
from ca.server_tls import JOIN_SERVER_OPTIONS, ServerCertificate, ServerNames
from ca.times import Clock, system_clock
from ca.tokens import TokenStore
from mesh.identity import Identity
from mesh.names import Key
from mesh.workload import Locality
from pb.meshwright.join.v1.join_pb2_grpc import JoinServiceStub, add_JoinServiceServicer_to_server

TRUST_DOMAIN = "example.org"
API = Identity(TRUST_DOMAIN, "default", "api")
API_1 = Key("default", "api-1")
START = datetime(2030, 1, 1, tzinfo=UTC)

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class HandClock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, step: timedelta) -> None:
        self.now += step


def no_chance() -> float:
    """The middle of every jitter."""
    return 0.5


def an_authority(
    directory: Path, clock: Clock = system_clock, trust_domain: str = TRUST_DOMAIN
) -> BuiltinAuthority:
    return BuiltinAuthority.open(directory, trust_domain, clock)


def a_csr() -> SigningRequest:
    return make_csr(new_key())


def a_leaf_request(
    identity: Identity = API, workload: Key | None = API_1, *, lifetime: timedelta = timedelta(hours=24)
) -> LeafRequest:
    return LeafRequest(identity, a_csr(), workload, lifetime)


def signed_request(
    key: SigningKey,
    *,
    algorithm: hashes.HashAlgorithm | None = None,
    subject: x509.Name | None = None,
    extension: x509.ExtensionType | None = None,
) -> bytes:
    """A request (DER) that may be one we refuse."""
    builder = x509.CertificateSigningRequestBuilder(subject_name=subject or x509.Name([]))
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signed = builder.sign(key, None)
    else:
        signed = builder.sign(key, algorithm or hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.DER)


def certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


@dataclass
class Credentials:
    """A key and a chain in PEM."""

    key: bytes = field(repr=False)
    chain: bytes

    @classmethod
    async def issue(
        cls,
        authority: BuiltinAuthority,
        identity: Identity = API,
        workload: Key | None = API_1,
        lifetime: timedelta = timedelta(hours=1),
        dns_names: tuple[str, ...] = (),
    ) -> Credentials:
        key = new_key()
        issued = await authority.issue(LeafRequest(identity, make_csr(key), workload, lifetime, dns_names))
        return cls(key_pem(key), issued.chain_pem)


@dataclass
class JoinServer:
    """A control plane that only joins and renews, on two loopback ports as the real one."""

    authority: BuiltinAuthority
    tokens: TokenStore
    certificate: ServerCertificate
    join_address: str
    renew_address: str
    events: list[JoinEvent]
    discovered: dict[Key, Identity]
    places: dict[Key, Locality]
    """Where workloads are; those that are not in it, nowhere."""
    bundle: Path

    def channel(
        self, address: str, client: Credentials | None = None, roots: bytes | None = None
    ) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            roots or self.authority.roots().pem,
            client.key if client else None,
            client.chain if client else None,
        )
        name = control_plane.server_name(TRUST_DOMAIN)
        return grpc.aio.secure_channel(
            address,
            credentials,
            options=(("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)),
        )

    @asynccontextmanager
    async def stub(
        self, address: str | None = None, client: Credentials | None = None, roots: bytes | None = None
    ) -> AsyncIterator[JoinServiceStub]:
        async with self.channel(address or self.join_address, client, roots) as channel:
            yield JoinServiceStub(channel)


@asynccontextmanager
async def a_join_server(
    directory: Path,
    *,
    clock: Clock = system_clock,
    limit: AttemptLimit | None = None,
    lifetime: timedelta = timedelta(hours=24),
    authority: BuiltinAuthority | None = None,
    ports: tuple[int, int] = (0, 0),
    also: Callable[[grpc.aio.Server], None] | None = None,
    options: tuple[tuple[str, int], ...] = (),
    proofs: Mapping[str, Proof] | None = None,
    aliases: tuple[str, ...] = (),
) -> AsyncIterator[JoinServer]:
    """`ports` are those of an earlier server that this one follows; `also` adds services to the port of mutual TLS."""
    authority = authority or an_authority(directory, clock)
    tokens = TokenStore(directory)
    names = ServerNames(tuple(map(control_plane.server_name, aliases)), (ipaddress.IPv4Address("127.0.0.9"),))
    certificate = ServerCertificate(authority, names, clock, no_chance)
    await certificate.renew()
    events: list[JoinEvent] = []
    discovered: dict[Key, Identity] = {}
    places: dict[Key, Locality] = {}

    async def locate(workload: Key, awaits: bool) -> Locality:
        del awaits
        return places.get(workload, Locality())

    service = JoinService(
        authority,
        {"join_token": TokenProof(tokens, clock), **(proofs or {})},
        clock=clock,
        chance=no_chance,
        limit=limit or AttemptLimit(time.monotonic),
        proof_limit=ProofLimit(time.monotonic, declared=discovered.__contains__),
        expected_identity=discovered.get,
        on_event=events.append,
        lifetime=lifetime,
        aliases=aliases,
        locate=locate,
    )
    joining = grpc.aio.server(options=JOIN_SERVER_OPTIONS)
    renewing = grpc.aio.server(options=(("grpc.so_reuseport", 0), *options))
    if also is not None:
        also(renewing)
    for server in (joining, renewing):
        add_JoinServiceServicer_to_server(service, server)
    join_port = joining.add_secure_port(
        f"127.0.0.1:{ports[0]}", certificate.credentials(require_client=False)
    )
    renew_port = renewing.add_secure_port(
        f"127.0.0.1:{ports[1]}", certificate.credentials(require_client=True)
    )
    await joining.start()
    await renewing.start()
    try:
        yield JoinServer(
            authority=authority,
            tokens=tokens,
            certificate=certificate,
            join_address=f"127.0.0.1:{join_port}",
            renew_address=f"127.0.0.1:{renew_port}",
            events=events,
            discovered=discovered,
            places=places,
            bundle=authority.bundle_path,
        )
    finally:
        await joining.stop(None)
        await renewing.stop(None)
