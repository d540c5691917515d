"""A Consul that is stopped, emptied, forbidden or half dead: the mesh keeps what worked, and says so."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import pathlib
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from discovery.consul import ConsulSource
from discovery.consul_options import ConsulOptions
from discovery.guard import GuardSettings
from discovery.lastgood import LastGood
from discovery.supervisor import SourceState
from mesh.names import Key
from tests.support.consul_agent import ConsulAgent, consul_agent
from tests.support.consul_mesh import told_by

API = Key("default", "api")


def source_of(agent: ConsulAgent, name: str = "consul", **options: object) -> ConsulSource:
    settings = ConsulOptions(address=agent.address, **options)  # type: ignore[arg-type]
    return ConsulSource(settings, name=name, random=random.Random(3).random)


async def test_a_node_that_dies_is_held_while_single_instances_are_not() -> None:
    async with consul_agent() as agent:
        for number in range(1, 9):
            await agent.catalog(
                "far" if number > 2 else f"near{number}",
                f"10.0.0.{number}",
                Service={"ID": f"api-{number}", "Service": "api", "Port": 80, "Address": f"10.0.0.{number}"},
                Checks=[{"Node": "far", "CheckID": "alive", "Name": "alive", "Status": "passing"}]
                if number > 2
                else [],
            )
        async with told_by(source_of(agent)) as told:
            await told.until(lambda: len(told.endpoints("api")) == 8)
            check = {"Node": "far", "CheckID": "alive", "Name": "alive", "Status": "critical"}
            await agent.catalog("far", "10.0.0.8", Check=check)
            await told.until(lambda: told.status().holds)
            (hold,) = told.status().holds
            assert (hold.service, hold.endpoints, hold.why) == (API, 6, "one answer removed 6 of 8 endpoints")
            assert len(told.endpoints("api")) == 8

            # By itself and not among the held: at once. So is one of the held that is deregistered.
            await agent.put("/v1/catalog/deregister", {"Node": "near1", "ServiceID": "api-1"})
            await told.until(lambda: len(told.endpoints("api")) == 7)
            await agent.put("/v1/catalog/deregister", {"Node": "far", "ServiceID": "api-8"})
            await told.until(lambda: len(told.endpoints("api")) == 6)
            # What comes is applied.
            await agent.add("api", 9)
            await told.until(lambda: len(told.endpoints("api")) == 7)

            assert told.discovery.release(API) == 1
            assert len(told.endpoints("api")) == 2
            assert not told.status().holds


async def on_node(agent: ConsulAgent, node: str, *services: str, count: int = 1) -> None:
    """Register instances in the catalog, all of them on one node that has no agent."""
    for service in services:
        for number in range(1, count + 1):
            instance = {
                "ID": f"{service}-{number}",
                "Service": service,
                "Port": 80,
                "Address": f"10.0.1.{number}",
            }
            await agent.catalog(node, "10.0.0.1", Service=instance)


CROWD = tuple(f"s{number}" for number in range(40))
READS_ALL = 'service_prefix "" {policy = "read"} node_prefix "" {policy = "read"}'


@pytest.mark.parametrize(("each", "kept", "poke"), [(3, 20, True), (1, 60, True), (3, 20, False)])
async def test_a_token_that_may_read_less_takes_nothing_away(each: int, kept: int, poke: bool) -> None:
    """Most services vanish from one answer, while `consul` stays; be they most of the endpoints or few of them."""
    async with consul_agent(acl=True) as agent:
        await on_node(agent, "far", *CROWD, count=each)
        await on_node(agent, "near", "keep", count=kept)
        policy = await agent.put("/v1/acl/policy", {"Name": "reader", "Rules": READS_ALL})
        made = await agent.put("/v1/acl/token", {"Policies": [{"Name": "reader"}]})
        async with told_by(source_of(agent, token=made["SecretID"], wait=1.0)) as told:
            assert len(told.state.workloads) == 40 * each + kept
            less = READS_ALL.replace('service_prefix ""', 'service "consul" {policy = "read"} service "keep"')
            await agent.put(f"/v1/acl/policy/{policy['ID']}", policy | {"Rules": less})
            if poke:
                # A long poll ends with the rules that it began with, and what follows it has the new ones.
                await on_node(agent, "near", "new")
            await told.until(lambda: told.status().holds)
            assert {hold.service.name for hold in told.status().holds} == set(CROWD)
            assert all("less than before" in hold.why for hold in told.status().holds)
            assert all(len(told.endpoints(name)) == each for name in CROWD)

            # What it may read goes on to change by itself, at once.
            await agent.put("/v1/catalog/deregister", {"Node": "near", "ServiceID": "keep-1"})
            await told.until(lambda: len(told.endpoints("keep")) == kept - 1)
            await agent.put(f"/v1/acl/policy/{policy['ID']}", policy)
            await told.until(lambda: not told.status().holds)
            await told.until(lambda: len(told.state.workloads) == 40 * each + kept - 1 + poke)


async def test_a_catalog_that_is_emptied_at_once_is_held_as_a_whole() -> None:
    async with consul_agent() as agent:
        await on_node(agent, "far", *CROWD, "api")
        async with told_by(source_of(agent)) as told:
            before = told.state
            assert len(before.services) == 41
            await agent.put("/v1/catalog/deregister", {"Node": "far"})
            await told.until(lambda: told.status().holds)
            assert len(told.status().holds) == 41
            assert (told.state.services, told.state.workloads) == (before.services, before.workloads)
            assert told.discovery.release(None) == 41
            assert not told.state.services


async def test_half_of_every_service_that_goes_with_its_node_is_held() -> None:
    async with consul_agent() as agent:
        for node in ("east", "west"):
            await on_node(agent, node, *CROWD)
        async with told_by(source_of(agent)) as told:
            assert len(told.state.workloads) == 80
            await agent.put("/v1/catalog/deregister", {"Node": "east"})
            await told.until(lambda: told.status().holds)
            assert len(told.status().holds) == 40
            assert len(told.state.workloads) == 80


async def test_services_that_are_deregistered_one_by_one_go_at_once() -> None:
    async with consul_agent() as agent:
        names = [f"s{number}" for number in range(8)]
        await on_node(agent, "far", *names)
        async with told_by(source_of(agent)) as told:
            for left, name in reversed(list(enumerate(names))):
                await agent.put("/v1/catalog/deregister", {"Node": "far", "ServiceID": f"{name}-1"})
                await told.until(lambda left=left: len(told.state.services) == left)  # type: ignore[misc]
                assert not told.status().holds


async def test_a_hold_ends_when_the_node_is_back_or_by_time() -> None:
    async with consul_agent() as agent:
        for number in range(1, 7):
            await agent.add("api", number)
        check = {"Name": "disk", "ID": "disk", "TTL": "10m", "Status": "passing"}
        await agent.put("/v1/agent/check/register", check)
        async with told_by(source_of(agent), settings=GuardSettings(longest=1.0)) as told:
            assert len(told.endpoints("api")) == 6
            await agent.put("/v1/agent/check/fail/disk")
            await told.until(lambda: told.status().holds)
            await agent.put("/v1/agent/check/pass/disk")
            await told.until(lambda: not told.status().holds)
            assert len(told.endpoints("api")) == 6
            await agent.put("/v1/agent/check/fail/disk")
            await told.until(lambda: told.status().holds)
            assert len(told.endpoints("api")) == 6
            await told.until(lambda: not told.endpoints("api"))
            assert not told.status().holds


async def test_stopped_and_restarted_empty() -> None:
    async with consul_agent() as agent:
        await agent.add("api", 1)
        for number in (1, 2):
            await agent.add("store", number)
        await agent.add("web", 1)
        async with told_by(source_of(agent)) as told:
            before = told.state
            agent.stop()
            # While it ends it may still answer, with an error.
            await told.until(lambda: "cannot be reached" in (told.status().last_error or ""))
            assert told.status().state is SourceState.FAILED
            await agent.start()
            await told.until(lambda: told.status().holds)
            assert told.status().state is SourceState.LIVE
            assert {str(hold.service) for hold in told.status().holds} == {
                *("default/api", "default/store", "default/web"),
            }
            assert (told.state.services, told.state.workloads) == (before.services, before.workloads)

            # It comes back, some of it elsewhere: changes flow again, service by service.
            await agent.add("api", 2)
            await told.until(lambda: [each.address for each in told.endpoints("api")] == ["127.0.0.2"])
            assert len(told.endpoints("store")) == 2
            await agent.add("store", 1)
            await told.until(lambda: len(told.endpoints("store")) == 1)
            await agent.add("web", 1)
            await told.until(lambda: not told.status().holds)
            assert len(told.endpoints("web")) == 1


async def test_warnings_of_a_consul_that_was_emptied_are_taken_back() -> None:
    async with consul_agent() as agent:
        await agent.add("api", 1, Meta={"protocol": "smoke"})
        async with told_by(source_of(agent)) as told:
            await told.until(lambda: told.status().warnings)
            agent.stop()
            await told.until(lambda: told.status().state is SourceState.FAILED)
            assert told.status().warnings
            await agent.start()
            await told.until(lambda: told.status().state is SourceState.LIVE)
            await told.until(lambda: not told.status().warnings)


async def test_a_start_while_consul_is_down_and_then_empty(tmp_path: pathlib.Path) -> None:
    async with consul_agent() as agent:
        for number in range(1, 4):
            await agent.add("api", number)
        async with told_by(source_of(agent), lastgood=LastGood(tmp_path)) as told:
            before = told.state
        assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
        agent.stop()
        async with told_by(source_of(agent), lastgood=LastGood(tmp_path), patience=60) as told:
            assert told.status().state is SourceState.FAILED
            assert (told.state.services, told.state.workloads) == (before.services, before.workloads)
            await agent.start()
            await told.until(lambda: told.status().state is SourceState.LIVE)
            assert [hold.why for hold in told.status().holds] == ["the catalog is empty"]
        # The hold outlives another start.
        async with told_by(source_of(agent), lastgood=LastGood(tmp_path), patience=60) as told:
            assert told.status().state is SourceState.LIVE
            assert len(told.endpoints("api")) == 3
            await agent.add("api", 1)
            await agent.add("api", 2)
            await told.until(lambda: len(told.endpoints("api")) == 2)


async def test_the_token_decides(caplog: pytest.LogCaptureFixture) -> None:
    async with consul_agent(acl=True) as agent:
        await agent.add("api", 1)
        wrong = "8cf0aa4c-9c79-4f86-9d8e-8b1a2f1f5d9f"
        for token, said in ((wrong, "refused: ACL not found"), ("", "token may read nothing")):
            async with told_by(source_of(agent, token=token), ready=False) as told:
                await told.until(lambda: told.status().state is SourceState.FAILED)
                assert said in (told.status().last_error or "")
                assert wrong not in (told.status().last_error or "")
                assert not told.discovery.ready.is_set()
        # A token revoked while all is well: what worked stays.
        policy = {
            "Name": "reader",
            "Rules": 'service_prefix "" {policy = "read"} node_prefix "" {policy = "read"}',
        }
        await agent.put("/v1/acl/policy", policy)
        made = await agent.put("/v1/acl/token", {"Policies": [{"Name": "reader"}]})
        async with told_by(source_of(agent, token=made["SecretID"], wait=1.0)) as told:
            assert len(told.endpoints("api")) == 1
            async with agent._session.delete(f"{agent.url}/v1/acl/token/{made['AccessorID']}") as response:  # type: ignore[union-attr]
                assert response.status == 200
            await told.until(lambda: told.status().state is SourceState.FAILED)
            assert len(told.endpoints("api")) == 1
            assert made["SecretID"] not in repr(
                (told.status(), caplog.text, ConsulOptions(token=made["SecretID"]))
            )


def certificates(folder: pathlib.Path) -> None:
    """ca.pem, and server and client certificates by it, the server's for the name server.dc1.consul."""
    now = dt.datetime.now(dt.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])

    def builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )

    ca = (
        builder(ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for who in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("server.dc1.consul"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        leaf = (
            builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)]), key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        (folder / f"{who}.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        (folder / f"{who}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


async def test_tls_with_both_sides_verified(tmp_path: pathlib.Path) -> None:
    certificates(tmp_path)
    files = {
        "ca_file": str(tmp_path / "ca.pem"),
        "cert_file": str(tmp_path / "client.pem"),
        "key_file": str(tmp_path / "client.key"),
    }
    async with consul_agent(tls=tmp_path) as agent:
        await agent.add("api", 1)
        for options in (files, {**files, "server_name": "server.dc1.consul"}):
            async with told_by(source_of(agent, **options)) as told:
                assert len(told.endpoints("api")) == 1
        for options, said in (
            ({}, "CERTIFICATE_VERIFY_FAILED"),
            ({**files, "server_name": "another.consul"}, "CERTIFICATE_VERIFY_FAILED"),
            ({"ca_file": files["ca_file"]}, "cannot be reached"),
            ({"ca_file": "/nowhere/ca.pem"}, "cannot read the Consul TLS files /nowhere/ca.pem"),
        ):
            async with told_by(source_of(agent, **options), ready=False) as told:
                await told.until(lambda: told.status().state is SourceState.FAILED)
                assert said in (told.status().last_error or "")


async def test_two_consuls_make_one_mesh_and_one_may_fail() -> None:
    async with consul_agent() as east, consul_agent() as west:
        await east.add("api", 1)
        await west.add("store", 1)
        async with told_by(source_of(east, "east"), source_of(west, "west")) as told:
            assert len(told.state.services) == 2
            west.stop()
            await told.until(lambda: told.status("west").state is SourceState.FAILED)
            await east.add("api", 2)
            await told.until(lambda: len(told.endpoints("api")) == 2)
            assert len(told.endpoints("store")) == 1


async def test_answers_that_are_none_of_consuls() -> None:
    """A server that is not Consul: the one fault here that the real one can't be made to show."""
    bodies = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "JSON"),
        (
            b"HTTP/1.1 200 OK\r\nx-consul-index: 7\r\ncontent-length: 2\r\n\r\n17",
            "answered what Consul never does",
        ),
        (
            b"HTTP/1.1 200 OK\r\nx-consul-index: 0\r\ncontent-length: 2048\r\n\r\n" + b" " * 2048,
            "larger than 1024 bytes",
        ),
        (b"HTTP/1.1 200 OK\r\nx-consul-index: x\r\ncontent-length: 2\r\n\r\n{}", "is it Consul?"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.9/\r\ncontent-length: 0\r\n\r\n", "redirect"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 17\r\n\r\nNo cluster leader", "No cluster leader"),
        (b"HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n", "429"),
        (b"", "cannot be reached"),
        (None, "did not answer in time"),
    ]
    for body, said in bodies:

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes | None = body
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if body is not None:
                writer.write(body)
                writer.close()
                await writer.wait_closed()
            else:
                await reader.read()
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            options = ConsulOptions(address=f"http://127.0.0.1:{port}", max_answer=1024, timeout=0.5)
            source = ConsulSource(options, random=random.Random(4).random)
            async with told_by(source, ready=False) as told:
                await told.until(lambda: told.status().state is SourceState.FAILED)
                assert said in (told.status().last_error or ""), body
