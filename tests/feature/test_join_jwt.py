"""Joining by a JSON Web Token: a real issuer with discovery and keys that rotate, fail, hang and lie."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca.jwks import AGAIN, FRESH, STALE, FileSource, KeySet, UrlSource
from ca.peer import proved
from ca.proof_jwt import Issuer, JwtProof, Subjects
from ca.times import system_clock
from pb.meshwright.join.v1.join_pb2 import JoinRequest
from tests.support.ca_builders import API, API_1, JoinServer, a_csr, a_join_server
from tests.support.forging import public_jwk
from tests.support.oidc import KUBERNETES, Oidc, oidc

NO_POD: dict[str, Any] = {"kubernetes.io": None}
POD = ("kubernetes.io", "pod", "name")


class Door:
    """A join service that trusts one issuer, and a clock for its keys that is moved by hand."""

    def __init__(self, issuer: Oidc, server: JoinServer, now: list[float]) -> None:
        self.issuer = issuer
        self.server = server
        self.now = now

    async def joined(self, token: str, workload: str = "api-1", namespace: str = "default") -> bytes:
        request = JoinRequest(jwt=token, namespace=namespace, workload=workload, csr=a_csr().der)
        async with self.server.stub() as stub:
            return (await stub.Join(request, timeout=10)).chain_pem

    async def refused(
        self, token: str, workload: str = "api-1", namespace: str = "default"
    ) -> tuple[Any, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.joined(token, workload, namespace)
        return caught.value.code(), caught.value.details() or ""


@asynccontextmanager
async def a_door(directory: Path, *subjects: Subjects, file: Path | None = None) -> AsyncIterator[Door]:
    async with oidc() as issuer:
        now = [0.0]
        source = UrlSource(issuer.url) if file is None else FileSource(file)
        trusted = Issuer(
            issuer.url,
            (issuer.audience,),
            subjects or (Subjects(KUBERNETES, workload=POD),),
            KeySet(issuer.url, source, lambda: now[0]),
        )
        proof = JwtProof([trusted], system_clock)
        async with a_join_server(directory, proofs={"jwt": proof}) as server:
            yield Door(issuer, server, now)


async def test_a_projected_token_gives_its_service_account(tmp_path: Path) -> None:
    async with a_door(tmp_path) as door:
        for token in (
            door.issuer.token(),
            door.issuer.token(algorithm="PS256"),
            door.issuer.token(key=door.issuer.ec, algorithm="ES256", kid="ec-1"),
            door.issuer.token(aud=door.issuer.audience),
        ):
            found = proved(await door.joined(token))
            assert (found.identity, found.workload) == (API, API_1)
        assert door.issuer.asked == 1, "the keys are kept"
        event = door.server.events[-1]
        assert event.by == f"JWT of {door.issuer.url} for system:serviceaccount:default:api"


@pytest.mark.parametrize("claim", [(), POD])
async def test_it_is_told_whether_the_token_names_its_workload(claim: tuple[str, ...]) -> None:
    async with oidc() as issuer:
        keys = KeySet(issuer.url, UrlSource(issuer.url), lambda: 0.0)
        trusted = Issuer(issuer.url, (issuer.audience,), (Subjects(KUBERNETES, workload=claim),), keys)
        proved_ = await JwtProof([trusted], system_clock).verify(issuer.token(), API_1, "")
        assert proved_.names_workload is bool(claim)


async def test_a_fixed_subject_is_one_service_account(tmp_path: Path) -> None:
    role = Subjects("arn:aws:iam::1:role/api", namespace="default", service_account="api")
    async with a_door(tmp_path, role) as door:
        assert proved(await door.joined(door.issuer.token(sub=role.pattern), "any-7")).identity == API
        code, details = await door.refused(door.issuer.token(sub="arn:aws:iam::1:role/api2"))
        assert (code, "nobody of this mesh" in details) == (grpc.StatusCode.PERMISSION_DENIED, True)


async def test_another_workload_or_namespace_is_denied(tmp_path: Path) -> None:
    async with a_door(tmp_path) as door:
        token = door.issuer.token()
        for workload, namespace, says in (
            ("api-2", "default", "does not name the workload 'api-2'"),
            ("api-1", "prod", "is for the namespace 'default', not for 'prod'"),
        ):
            code, details = await door.refused(token, workload, namespace)
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert says in details
        code, _ = await door.refused(door.issuer.token(**NO_POD))
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_new_keys_are_found_and_withdrawn_ones_forgotten(tmp_path: Path) -> None:
    async with a_door(tmp_path) as door:
        await door.joined(door.issuer.token())
        old, new = door.issuer.rsa, rsa.generate_private_key(65537, 2048)
        door.issuer.published = [public_jwk(new, "rsa-2")]
        fresh = door.issuer.token(key=new, kid="rsa-2")
        code, _ = await door.refused(fresh)
        assert code is grpc.StatusCode.UNAUTHENTICATED, "it was looked a moment ago"
        assert door.issuer.asked == 1
        door.now[0] += AGAIN
        await door.joined(fresh)
        code, details = await door.refused(door.issuer.token(key=old))
        assert (code, "has published" in details) == (grpc.StatusCode.UNAUTHENTICATED, True)


@pytest.mark.parametrize("fault", ["error", "garbage", "huge", "redirect", "another issuer", "hang"])
async def test_an_issuer_that_fails_or_lies_lets_nobody_in_and_shuts_nobody_out(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ca.web.TIMEOUT", 0.3)
    async with a_door(tmp_path) as door:
        token = door.issuer.token()
        door.issuer.fault = fault
        code, details = await door.refused(token)
        assert (code, door.issuer.url in details) == (grpc.StatusCode.UNAVAILABLE, False)
        assert door.issuer.url in door.server.events[-1].reason, "the log says where"
        door.issuer.fault = ""
        door.now[0] += AGAIN
        await door.joined(token)
        door.issuer.fault = fault
        door.now[0] += FRESH + 1
        await door.joined(token)  # by the keys of before
        door.now[0] += STALE
        code, _ = await door.refused(token)
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_keys_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    async with a_door(tmp_path, file=file) as door:
        token = door.issuer.token(kid=None)
        code, _ = await door.refused(token)
        assert code is grpc.StatusCode.UNAVAILABLE
        file.write_text(json.dumps({"keys": [public_jwk(door.issuer.rsa, "x")]}))
        door.now[0] += AGAIN
        await door.joined(token)


async def test_keys_that_are_none_or_too_weak_are_left_out(tmp_path: Path) -> None:
    async with a_door(tmp_path) as door:
        weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 (that it is refused is the point)
        other = ec.generate_private_key(ec.SECP256R1())
        door.issuer.published = [
            public_jwk(weak, "weak"),
            {**public_jwk(door.issuer.rsa, "for-encryption"), "use": "enc"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
            {"kty": {"kty": "EC"}, "kid": "a kind that is none"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            {**public_jwk(other, "wrong-curve"), "crv": "P-999"},
            "no key at all",  # type: ignore[list-item]
        ]
        for token in (
            door.issuer.token(key=door.issuer.rsa, kid="for-encryption"),
            door.issuer.token(key="secret" * 8, algorithm="HS256", kid="shared"),
            door.issuer.token(kid="broken"),
        ):
            code, details = await door.refused(token)
            assert (code, "has published" in details) == (grpc.StatusCode.UNAUTHENTICATED, True)
