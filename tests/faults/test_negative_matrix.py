"""Attempts to join, to renew and to be given what is another's: each is refused, is in the audit log, and leaves the control plane well.

What fails in the TLS handshake never comes that far, see tests/feature/test_mutual_tls.py.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import jwt
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from ca import control_plane
from ca.builtin import BuiltinAuthority
from ca.keys import new_key
from ca.times import system_clock
from ca.tokens import TokenStore
from mesh.identity import Identity
from mesh.names import Key
from meshwright.audit import FILE
from pb.meshwright.join.v1.join_pb2 import JoinRequest, RenewRequest
from pb.meshwright.join.v1.join_pb2_grpc import JoinServiceStub
from tests.support import forging
from tests.support.ca_builders import Credentials, a_csr, signed_request
from tests.support.forging import public_jwk, public_pem
from tests.support.mesh import LOOPBACK, Instance, Mesh
from tests.support.oidc import KUBERNETES, Oidc, oidc
from tests.support.processes import eventually
from tests.support.xds_streams import Stream
from xds.types import CLUSTER, SECRET

DOMAIN = "mesh.local"
UNAUTHENTICATED, DENIED, INVALID = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
)


@dataclass
class Door:
    """A running control plane with the workloads api-1 and web-1, and everything that a thief may have got hold of."""

    mesh: Mesh
    issuer: Oidc
    authority: BuiltinAuthority
    tokens: TokenStore
    secrets: list[str] = field(default_factory=list)

    def channel(self, port: int, client: Credentials | None = None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            self.authority.roots().pem, client.key if client else None, client.chain if client else None
        )
        name = ("grpc.ssl_target_name_override", control_plane.server_name(DOMAIN))
        return grpc.aio.secure_channel(
            f"{LOOPBACK}:{port}", credentials, options=(name, ("grpc.use_local_subchannel_pool", 1))
        )

    def token(self, *, workload: str | None = "api-1", ago: timedelta = timedelta(0), uses: int = 1) -> str:
        made = self.tokens.create("default", "api", now=system_clock() - ago, workload=workload, uses=uses)
        self.secrets.append(made.partition(".")[2])
        return made

    async def leaf(self, account: str, workload: Key | None, **options: Any) -> Credentials:
        return await Credentials.issue(
            self.authority, Identity(DOMAIN, "default", account), workload, **options
        )

    async def join(self, workload: str = "api-1", namespace: str = "default", **shown: Any) -> None:
        """`shown` are further fields of the request; a CSR that is well is made if none is given."""
        if "jwt" in shown:
            self.secrets.append(shown["jwt"].rpartition(".")[2])
        request = JoinRequest(**{"namespace": namespace, "workload": workload, "csr": a_csr().der, **shown})
        async with self.channel(self.mesh.join_port) as channel:
            await JoinServiceStub(channel).Join(request, timeout=10)

    async def renew(self, client: Credentials | None, *, csr: bytes | None = None) -> None:
        port = self.mesh.xds_port if client else self.mesh.join_port
        async with self.channel(port, client) as channel:
            await JoinServiceStub(channel).Renew(RenewRequest(csr=csr or a_csr().der), timeout=10)

    async def stream(
        self, client: Credentials, *nodes: str, delta: bool = True, only_type: str | None = None
    ) -> None:
        """Ask for clusters (or for `only_type`) as each of `nodes`, one after the other, until the stream is refused."""
        channel = self.channel(self.mesh.xds_port, client)
        async with Stream(0, delta=delta, only_type=only_type, node=nodes[0], channel=channel) as stream:
            for node in nodes:
                await stream.ask(only_type or CLUSTER, node=node)
            code, details = await stream.status()
        raise Refused(code, details)

    async def withheld(self, stream: Stream, *names: str) -> None:
        """Ask for `names`: nothing that is a secret may come."""
        async with stream:
            await stream.ask(CLUSTER)
            await stream.ask(SECRET, *names)
            with contextlib.suppress(TimeoutError):
                while True:
                    answer = await stream.read(0.5)
                    assert not (answer.type_url == SECRET and answer.bodies), answer.names
        raise Refused(None, "")


class Refused(Exception):
    """How an attempt ended that a stub does not raise for."""


Attempt: TypeAlias = Callable[[Door], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """`says` is in the reason that the audit log gives, under `event`. `status` None: the stream lives on, and gives nothing."""

    attempt: Attempt
    status: grpc.StatusCode | None
    says: str
    event: str = "refused"


def forged(door: Door, algorithm: str, signature: bytes = b"", **header: Any) -> str:
    head = {"alg": algorithm, "typ": "JWT", "kid": "rsa-1", **header}
    return forging.forged(head, door.issuer.claims(), lambda _: signature)


def confused(door: Door) -> str:
    return forging.confused("rsa-1", door.issuer.claims(), public_pem(door.issuer.rsa))


def changed(door: Door, **claims: Any) -> str:
    """A good token whose claims somebody has rewritten."""
    return forging.altered(door.issuer.token(), door.issuer.claims(**claims))


def jwk_in_header(door: Door) -> str:
    own = rsa.generate_private_key(65537, 2048)
    headers = {"kid": "rsa-1", "jwk": public_jwk(own, "rsa-1"), "jku": f"{door.issuer.url}/elsewhere"}
    return jwt.encode(door.issuer.claims(), own, algorithm="RS256", headers=headers)


def tampered() -> bytes:
    der = bytearray(a_csr().der)
    der[-3] ^= 1
    return bytes(der)


API = Key("default", "api-1")
NOW = datetime.now(UTC)
NAMED = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
CLAIMED = x509.SubjectAlternativeName(
    [x509.UniformResourceIdentifier("spiffe://mesh.local/ns/default/sa/web")]
)


async def used_up(door: Door) -> None:
    token = door.token()
    await door.join(join_token=token)
    await door.join(join_token=token)


async def revoked(door: Door) -> None:
    token = door.token()
    door.tokens.revoke(token.removeprefix("mwj_").partition(".")[0])
    await door.join(join_token=token)


async def wrong_secret(door: Door) -> None:
    head, _, secret = door.token().partition(".")
    await door.join(join_token=f"{head}.{secret[::-1]}")


async def claims_in_csr(door: Door) -> None:
    csr = signed_request(new_key(), extension=CLAIMED)
    await door.join(join_token=door.token(), csr=csr)


async def renews_as(door: Door, account: str, workload: Key | None, **options: Any) -> None:
    await door.renew(await door.leaf(account, workload, **options))


async def renews_badly(door: Door) -> None:
    csr = signed_request(ec.generate_private_key(ec.SECP224R1()))
    await door.renew(await door.leaf("api", API), csr=csr)


async def streams_as(door: Door, account: str, workload: Key | None, *nodes: str, **options: Any) -> None:
    await door.stream(await door.leaf(account, workload), *nodes, **options)


async def others_secret(door: Door, *names: str, delta: bool) -> None:
    channel = door.channel(door.mesh.xds_port, await door.leaf("api", Key("default", "api-1")))
    await door.withheld(Stream(0, delta=delta, node="default/api-1", channel=channel), *names)


async def secrets_in_plaintext(door: Door, *, delta: bool) -> None:
    stream = Stream(door.mesh.plaintext_port, delta=delta, node="default/api-1")
    await door.withheld(stream, "identity", "roots")


TOKENS = {
    "a token never made": Case(
        lambda d: d.join(join_token="mwj_" + "a" * 16 + "." + "A" * 43), UNAUTHENTICATED, "unknown"
    ),
    "a token with another's secret": Case(wrong_secret, UNAUTHENTICATED, "unknown"),
    "a token that has ended": Case(
        lambda d: d.join(join_token=d.token(ago=timedelta(hours=2))), UNAUTHENTICATED, "expired"
    ),
    "a token used up": Case(used_up, UNAUTHENTICATED, "has been used 1 of 1"),
    "a token that was revoked": Case(revoked, UNAUTHENTICATED, "unknown"),
    "a stolen token, for another workload": Case(
        lambda d: d.join("web-1", join_token=d.token()), DENIED, "not for default/web-1"
    ),
    "a token for any workload of api, shown by web-1": Case(
        lambda d: d.join("web-1", join_token=d.token(workload=None)), DENIED, "service account 'web'"
    ),
    "a token in another namespace": Case(
        lambda d: d.join(namespace="prod", join_token=d.token()), DENIED, "not for prod/api-1"
    ),
    "an id that leaves the directory": Case(
        lambda d: d.join(join_token="mwj_../../../../etc.passwd"), UNAUTHENTICATED, "unknown"
    ),
    "an empty token": Case(lambda d: d.join(join_token=""), UNAUTHENTICATED, "unknown"),
    "a token of 30 KB": Case(lambda d: d.join(join_token="mwj_" * 7500), UNAUTHENTICATED, "unknown"),
    "no proof": Case(lambda d: d.join(), UNAUTHENTICATED, "no proof was shown"),
    "a proof that is not taken here": Case(
        lambda d: d.join(consul_token="8a3c2c4e"), UNAUTHENTICATED, "is no proof here"
    ),
    "a workload that cannot be": Case(
        lambda d: d.join("../api-1", join_token=d.token()), INVALID, "workload"
    ),
    "a namespace that cannot be": Case(
        lambda d: d.join(namespace="De\x1bfault", join_token=d.token()), INVALID, "namespace"
    ),
}
REQUESTS = {
    "a CSR of 5 KB": Case(lambda d: d.join(join_token=d.token(), csr=b"x" * 5000), INVALID, "5000 bytes"),
    "a CSR that is none": Case(lambda d: d.join(join_token=d.token(), csr=b"csr"), INVALID, "not PKCS #10"),
    "no CSR": Case(lambda d: d.join(join_token=d.token(), csr=b""), INVALID, "not PKCS #10"),
    "a CSR with a weak RSA key": Case(
        lambda d: d.join(
            join_token=d.token(),
            csr=signed_request(rsa.generate_private_key(65537, 1024)),  # noqa: S505
        ),
        INVALID,
        "the CSR's key",
    ),
    "a CSR on a curve for nobody": Case(
        lambda d: d.join(join_token=d.token(), csr=signed_request(ec.generate_private_key(ec.SECP224R1()))),
        INVALID,
        "the CSR's key",
    ),
    "a CSR that another key signed": Case(
        lambda d: d.join(join_token=d.token(), csr=tampered()), INVALID, "not signed by its own key"
    ),
    "a CSR with a subject": Case(
        lambda d: d.join(join_token=d.token(), csr=signed_request(new_key(), subject=NAMED)),
        INVALID,
        "names a subject",
    ),
    "a CSR for another identity": Case(claims_in_csr, INVALID, "asks for extensions"),
}
JWTS = {
    "a JWT that has ended": Case(
        lambda d: d.join(jwt=d.issuer.token(exp=NOW - timedelta(hours=1))), UNAUTHENTICATED, "ended"
    ),
    "a JWT of tomorrow": Case(
        lambda d: d.join(jwt=d.issuer.token(nbf=NOW + timedelta(days=1))), UNAUTHENTICATED, "not valid before"
    ),
    "a JWT that never ends": Case(
        lambda d: d.join(jwt=d.issuer.token(exp=None)), UNAUTHENTICATED, "lacks the claim 'exp'"
    ),
    "a JWT whose end is no time": Case(
        lambda d: d.join(jwt=d.issuer.token(nbf="soon")), UNAUTHENTICATED, "not a time"
    ),
    "a JWT for another audience": Case(
        lambda d: d.join(jwt=d.issuer.token(aud=["vault"])), UNAUTHENTICATED, "not meant for this mesh"
    ),
    "a JWT for nobody": Case(
        lambda d: d.join(jwt=d.issuer.token(aud=None)), UNAUTHENTICATED, "lacks the claim 'aud'"
    ),
    "a JWT of another issuer": Case(
        lambda d: d.join(jwt=d.issuer.token(iss="https://evil.example")), UNAUTHENTICATED, "not one that"
    ),
    "a JWT without subject": Case(
        lambda d: d.join(jwt=d.issuer.token(sub=None)), UNAUTHENTICATED, "lacks the claim 'sub'"
    ),
    "alg: none": Case(lambda d: d.join(jwt=forged(d, "none")), UNAUTHENTICATED, "algorithm 'none'"),
    "a public key as a shared secret": Case(
        lambda d: d.join(jwt=confused(d)), UNAUTHENTICATED, "algorithm 'HS256'"
    ),
    "an EC algorithm with an RSA key": Case(
        lambda d: d.join(jwt=forged(d, "ES256", b"\0" * 64)), UNAUTHENTICATED, "algorithm 'ES256'"
    ),
    "an empty signature": Case(lambda d: d.join(jwt=forged(d, "RS256")), UNAUTHENTICATED, "signature"),
    "a stranger's key under a known id": Case(
        lambda d: d.join(jwt=d.issuer.token(key=rsa.generate_private_key(65537, 2048))),
        UNAUTHENTICATED,
        "signature",
    ),
    "an unknown key id": Case(
        lambda d: d.join(jwt=d.issuer.token(kid="rsa-9")), UNAUTHENTICATED, "not signed by a key"
    ),
    "a key that comes with the token": Case(
        lambda d: d.join(jwt=jwk_in_header(d)), UNAUTHENTICATED, "signature"
    ),
    "claims that were rewritten": Case(
        lambda d: d.join(jwt=changed(d, sub="system:serviceaccount:default:web")),
        UNAUTHENTICATED,
        "signature",
    ),
    "an extension that nobody knows": Case(
        lambda d: d.join(jwt=forged(d, "RS256", crit=["x"])), UNAUTHENTICATED, "JSON Web Token"
    ),
    "a JWT of another pod": Case(
        lambda d: d.join("web-1", jwt=d.issuer.token()), DENIED, "does not name the workload"
    ),
    "a JWT of another service account": Case(
        lambda d: d.join(jwt=d.issuer.token(sub="system:serviceaccount:default:web")),
        DENIED,
        "service account 'api'",
    ),
    "a subject that is nobody": Case(
        lambda d: d.join(jwt=d.issuer.token(sub="system:serviceaccount:default:api:web")), DENIED, "nobody"
    ),
    "no JWT at all": Case(lambda d: d.join(jwt="a.b"), UNAUTHENTICATED, "not a JSON Web Token"),
    "a JWT of 20 KB": Case(lambda d: d.join(jwt=d.issuer.token(pad="x" * 20_000)), UNAUTHENTICATED, "bytes"),
}
RENEWALS = {
    "a renewal without certificate": Case(lambda d: d.renew(None), UNAUTHENTICATED, "no client certificate"),
    "a renewal with the control plane's own kind of certificate": Case(
        lambda d: renews_as(d, "api", None), UNAUTHENTICATED, "0 UIDs"
    ),
    "a renewal by who the workload no longer is": Case(
        lambda d: renews_as(d, "web", API), DENIED, "service account 'api'"
    ),
    "a renewal with a bad CSR": Case(renews_badly, INVALID, "the CSR's key"),
}
STREAMS = {
    "another's node id": Case(
        lambda d: streams_as(d, "api", API, "default/web-1"),
        DENIED,
        "issued to default/api-1",
        "stream refused",
    ),
    "another's node id, SotW": Case(
        lambda d: streams_as(d, "api", API, "default/web-1", delta=False),
        DENIED,
        "issued to default/api-1",
        "stream refused",
    ),
    "another's node id, at the secrets' own service": Case(
        lambda d: streams_as(d, "api", API, "default/web-1", only_type=SECRET),
        DENIED,
        "issued to default/api-1",
        "stream refused",
    ),
    "a node id that is none": Case(
        lambda d: streams_as(d, "api", API, "api-1\n"), INVALID, "node.id is not", "stream refused"
    ),
    "no node id": Case(lambda d: streams_as(d, "api", API, ""), INVALID, "node", "stream refused"),
    "a node id that changes": Case(
        lambda d: streams_as(d, "api", API, "default/api-1", "default/web-1"),
        INVALID,
        "changed from",
        "stream refused",
    ),
    "a certificate of who the workload no longer is": Case(
        lambda d: streams_as(d, "web", API, "default/api-1"), DENIED, "by now", "stream refused"
    ),
    "a certificate of nobody": Case(
        lambda d: streams_as(d, "api", None, "default/api-1"), UNAUTHENTICATED, "0 UIDs", "stream refused"
    ),
    "another's secret by name": Case(
        lambda d: others_secret(d, "default/web-1", "identity/web-1", delta=True), None, "", "secret withheld"
    ),
    "another's secret by name, SotW": Case(
        lambda d: others_secret(d, "gateway/default/edge", delta=False), None, "", "secret withheld"
    ),
    "secrets over plaintext": Case(
        lambda d: secrets_in_plaintext(d, delta=True), None, "", "secret withheld"
    ),
    "secrets over plaintext, SotW": Case(
        lambda d: secrets_in_plaintext(d, delta=False), None, "", "secret withheld"
    ),
}
CASES = TOKENS | REQUESTS | JWTS | RENEWALS | STREAMS


@contextlib.asynccontextmanager
async def a_door(folder: Path) -> AsyncIterator[Door]:
    async with oidc() as issuer:
        trusted = {
            "issuer": issuer.url,
            "audiences": [issuer.audience],
            "subjects": [{"subject": KUBERNETES, "workload_claim": "kubernetes.io/pod/name"}],
        }
        config = folder / "settings.yaml"
        config.write_text(yaml.safe_dump({"join_issuers": [trusted], "join_attempts": 1000}))
        async with Mesh(folder, config=str(config)) as mesh:
            mesh.documents.mkdir(exist_ok=True)
            mesh.write_service("api", Instance("api", "api-1"))
            mesh.write_service("web", Instance("web", "web-1"))
            await mesh.serve()
            authority = BuiltinAuthority.open(mesh.data, DOMAIN, system_clock)
            yield Door(mesh, issuer, authority, TokenStore(mesh.data))


def audited(mesh: Mesh) -> list[dict[str, Any]]:
    path = mesh.data / FILE
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def test_every_attempt_is_refused_and_told(tmp_path: Path) -> None:
    assert len(CASES) >= 40
    async with a_door(tmp_path) as door:
        server = door.mesh.server
        assert server is not None
        wrong: list[str] = []
        for name, case in CASES.items():
            seen = len(audited(door.mesh))
            code, details = await ended(case.attempt, door)
            if code is not case.status:
                wrong.append(f"{name}: {code} {details}")
                continue

            async def told(case: Case = case, seen: int = seen) -> bool:
                return any(
                    line["event"] == case.event and case.says in line.get("reason", "")
                    for line in audited(door.mesh)[seen:]
                )

            try:
                await eventually(told, f"{name} is in the audit log", server, patience=5)
            except AssertionError:
                wrong.append(f"{name}: told {audited(door.mesh)[seen:]}, not {case.says!r}")
        assert wrong == []
        assert server.process.returncode is None
        await door.join(jwt=door.issuer.token())  # the good ones still get in
        await door.join(join_token=door.token())
        everything = (door.mesh.data / FILE).read_text() + server.text() + await door.mesh.metrics()
        assert [secret for secret in door.secrets if len(secret) > 20 and secret in everything] == []
        assert "PRIVATE KEY" not in everything
        assert "Traceback" not in server.text()


async def ended(attempt: Attempt, door: Door) -> tuple[Any, str]:
    try:
        await attempt(door)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    except Refused as refused:
        return refused.args
    return "let in", ""
