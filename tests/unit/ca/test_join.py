"""The join service over real gRPC and real TLS."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ca.csr import SigningRequest, make_csr
from ca.join import Outcome
from ca.keys import key_pem, new_key
from ca.peer import proved
from ca.rate_limit import AttemptLimit, Rate
from ca.times import system_clock
from mesh.identity import Identity
from mesh.workload import Locality
from pb.meshwright.join.v1.join_pb2 import Certificate, JoinRequest, RenewRequest
from tests.support.ca_builders import (
    API,
    API_1,
    TRUST_DOMAIN,
    Credentials,
    HandClock,
    JoinServer,
    a_csr,
    a_join_server,
    an_authority,
    signed_request,
)


def a_request(token: str, csr: SigningRequest | None = None, workload: str = "api-1") -> JoinRequest:
    return JoinRequest(join_token=token, namespace="default", workload=workload, csr=(csr or a_csr()).der)


def a_token(server: JoinServer, account: str = "api", workload: str | None = None, uses: int = 1) -> str:
    return server.tokens.create("default", account, now=system_clock(), workload=workload, uses=uses)


async def refused(server: JoinServer, request: JoinRequest) -> tuple[grpc.StatusCode, str]:
    async with server.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Join(request, timeout=10)
    return caught.value.code(), caught.value.details() or ""


async def renewed(server: JoinServer, client: Credentials, csr: bytes | None = None) -> Certificate:
    async with server.stub(server.renew_address, client) as stub:
        return await stub.Renew(RenewRequest(csr=csr or a_csr().der), timeout=10)


async def test_a_token_gives_a_certificate(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server, server.stub() as stub:
        answer = await stub.Join(a_request(a_token(server)), timeout=10)
        found = proved(answer.chain_pem)
        assert (found.identity, found.workload) == (API, API_1)
        assert answer.identity == API.uri
        assert answer.roots_pem == server.authority.roots().pem
        half = found.not_after - timedelta(hours=12)
        assert abs(answer.renew_at - half.timestamp()) <= 2
        (event,) = server.events
        assert (event.outcome, event.workload, event.identity) == (Outcome.JOINED, "default/api-1", API.uri)


async def test_the_answer_says_where_the_workload_is(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server, server.stub() as stub:
        server.places[API_1] = Locality("eu", "a", "r1")
        said = (await stub.Join(a_request(a_token(server)), timeout=10)).locality
        assert (said.region, said.zone, said.sub_zone) == ("eu", "a", "r1")
        issued = await Credentials.issue(server.authority)
        server.places[API_1] = Locality("eu", "b")
        said = (await renewed(server, issued)).locality
        assert (said.region, said.zone, said.sub_zone) == ("eu", "b", "")


async def test_an_answer_that_was_lost_is_given_again(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server, server.stub() as stub:
        request = a_request(a_token(server))
        await stub.Join(request, timeout=10)
        await stub.Join(request, timeout=10)
        assert server.tokens.list()[0].used == 1


async def test_wrong_tokens_are_unauthenticated(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        used = a_token(server)
        async with server.stub() as stub:
            await stub.Join(a_request(used), timeout=10)
        expired = server.tokens.create(
            "default", "api", now=system_clock() - timedelta(hours=2), ttl=timedelta(hours=1)
        )
        other = a_token(server)
        wrong = other[:-4] + ("AAAA" if not other.endswith("AAAA") else "BBBB")
        for token, says in ((used, "1 of 1"), (expired, "expired"), (wrong, "unknown"), ("", "unknown")):
            code, details = await refused(server, a_request(token))
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert says in details
        code, details = await refused(
            server, JoinRequest(namespace="default", workload="api-1", csr=a_csr().der)
        )
        assert (code, "no proof" in details) == (grpc.StatusCode.UNAUTHENTICATED, True)
        secrets = [token.partition(".")[2] for token in (used, expired, wrong, other)]
        assert not [secret for secret in secrets if secret in repr(server.events)]


async def test_the_servers_own_trouble_is_told_once_and_not_to_the_caller(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        token = a_token(server)
        (path,) = (tmp_path / "tokens").glob("*.json")
        path.chmod(0o644)
        code, details = await refused(server, a_request(token))
        assert (code, str(tmp_path) in details) == (grpc.StatusCode.UNAVAILABLE, False)
        assert details == "the control plane cannot check join tokens now: see its log"
        (event,) = server.events
        assert (event.outcome, event.workload, event.status) == (
            Outcome.REFUSED,
            "default/api-1",
            "UNAVAILABLE",
        )
        assert event.peer
        assert f"cannot check join tokens: {path}" in event.reason


async def test_a_token_for_another_workload_is_denied(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        token = a_token(server, workload="api-2")
        code, _ = await refused(server, a_request(token))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert server.tokens.list()[0].used == 0


async def test_a_service_account_that_the_workload_does_not_have_is_denied(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        server.discovered[API_1] = Identity(TRUST_DOMAIN, "default", "store")
        token = a_token(server)
        code, details = await refused(server, a_request(token))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "'store'" in details
        assert server.tokens.list()[0].used == 0  # refused before a use was counted
        server.discovered[API_1] = API
        async with server.stub() as stub:
            await stub.Join(a_request(token), timeout=10)


@pytest.mark.parametrize("what", ["garbage", "empty", "large", "weak", "named", "foreign"])
async def test_bad_csrs_are_invalid(tmp_path: Path, what: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    san = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://example.org/ns/default/sa/store")]
    )
    good = a_csr().der
    csr = {
        "garbage": b"junk",
        "empty": b"",
        "large": bytes(5000),
        "weak": signed_request(rsa.generate_private_key(65537, 1024)),  # noqa: S505
        "named": signed_request(new_key(), extension=san),
        "foreign": good[:-1] + bytes([good[-1] ^ 1]),
    }[what]
    async with a_join_server(tmp_path) as server:
        request = a_request(a_token(server))
        request.csr = csr
        code, _ = await refused(server, request)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert server.tokens.list()[0].used == 0


async def test_a_message_out_of_all_size_is_not_read(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        request = a_request(a_token(server))
        request.csr = bytes(10_000_000)
        code, _ = await refused(server, request)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert server.events == []


@pytest.mark.parametrize("workload", ["", "a/b", "../x", "a" * 300, "a\nb"])
async def test_bad_names_are_invalid(tmp_path: Path, workload: str) -> None:
    async with a_join_server(tmp_path) as server:
        code, _ = await refused(server, a_request(a_token(server), workload=workload))
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_attempts_are_limited(tmp_path: Path) -> None:
    limit = AttemptLimit(lambda: 0.0, per_peer=Rate(3, 0), in_all=Rate(100, 0))
    async with a_join_server(tmp_path, limit=limit) as server, server.stub() as stub:
        token = a_token(server, uses=10)
        for number in range(10):  # successes do not count
            await stub.Join(a_request(token, workload=f"api-{number}"), timeout=10)
        codes = [(await refused(server, a_request("wrong")))[0] for _ in range(4)]
        assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED]


async def test_the_authoritys_failure_is_unavailable_and_tells_the_caller_nothing(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        token = a_token(server)
        clock = HandClock(server.authority.status().root_not_after)
        server.authority._clock = clock
        code, details = await refused(server, a_request(token))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert str(tmp_path) not in details
        assert [event for event in server.events if str(tmp_path) in event.reason]


async def test_a_damaged_token_file_is_the_servers_trouble(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        token = a_token(server)
        (path,) = (tmp_path / "tokens").glob("*.json")
        path.write_text("{")
        code, details = await refused(server, a_request(token))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert str(tmp_path) not in details
        assert [event for event in server.events if str(path) in event.reason]


async def test_a_proof_that_holds_has_a_rate(tmp_path: Path) -> None:
    """One use, shown again with the same key, gives the answer again, and not thousands of certificates."""
    async with a_join_server(tmp_path) as server, server.stub() as stub:
        request = a_request(a_token(server))
        for _ in range(20):
            await stub.Join(request, timeout=10)
        codes = [(await refused(server, request))[0] for _ in range(2)]
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        await stub.Join(a_request(a_token(server)), timeout=10)  # another proof, of the same workload


async def test_strangers_cannot_keep_members_from_renewing(tmp_path: Path) -> None:
    limit = AttemptLimit(lambda: 0.0, per_peer=Rate(3, 0), in_all=Rate(2, 0))
    async with a_join_server(tmp_path, limit=limit) as server:
        client = await Credentials.issue(server.authority)
        codes = [(await refused(server, a_request("wrong")))[0] for _ in range(3)]
        assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(3):
            await renewed(server, client)
        with pytest.raises(grpc.aio.AioRpcError) as caught:  # a loop of its own is held to its rate
            await renewed(server, client)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_certificate_renews_itself(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        client = await Credentials.issue(server.authority)
        answer = await renewed(server, client)
        found = proved(answer.chain_pem)
        assert (found.identity, found.workload) == (API, API_1)
        assert server.events[-1].outcome is Outcome.RENEWED


async def test_renewal_without_a_certificate_is_unauthenticated(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server, server.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Renew(RenewRequest(csr=a_csr().der), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        # The other port ends the handshake.
        async with server.stub(server.renew_address) as bare:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bare.Renew(RenewRequest(csr=a_csr().der), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_foreign_certificate_ends_the_handshake(tmp_path: Path) -> None:
    foreign = an_authority(tmp_path / "foreign")  # it claims our trust domain
    async with a_join_server(tmp_path / "ours") as server:
        client = await Credentials.issue(foreign)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await renewed(server, client)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.events == []


async def test_the_control_planes_own_certificate_renews_nothing(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        client = await Credentials.issue(
            server.authority, Identity(TRUST_DOMAIN, "meshwright", "control-plane"), None
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await renewed(server, client)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_connection_that_outlived_its_certificate_renews_nothing(tmp_path: Path) -> None:
    clock = HandClock(system_clock())
    async with a_join_server(tmp_path, clock=clock) as server:
        client = await Credentials.issue(server.authority)
        async with server.stub(server.renew_address, client) as stub:
            await stub.Renew(RenewRequest(csr=a_csr().der), timeout=10)
            clock.move(timedelta(hours=2))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Renew(RenewRequest(csr=a_csr().der), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "ended" in (caught.value.details() or "")


async def test_a_renewal_cannot_change_the_identity(tmp_path: Path) -> None:
    from cryptography import x509

    san = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://example.org/ns/default/sa/store")]
    )
    async with a_join_server(tmp_path) as server:
        client = await Credentials.issue(server.authority)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await renewed(server, client, signed_request(new_key(), extension=san))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        server.discovered[API_1] = Identity(TRUST_DOMAIN, "default", "store")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await renewed(server, client)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_no_token_gives_the_control_planes_identity(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        token = server.tokens.create("meshwright", "other", now=system_clock())
        # A file that was changed by hand to ask for it.
        (path,) = (tmp_path / "tokens").glob("*.json")
        path.write_text(path.read_text().replace('"other"', '"control-plane"'))
        request = a_request(token)
        request.namespace = "meshwright"
        code, _ = await refused(server, request)
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_the_key_stays_with_its_maker(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server, server.stub() as stub:
        key = new_key()
        answer = await stub.Join(a_request(a_token(server), make_csr(key)), timeout=10)
        assert b"PRIVATE" not in answer.SerializeToString()
        body = key_pem(key).split(b"\n")[1]
        assert body not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
