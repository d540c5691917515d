from __future__ import annotations

import asyncio
import ipaddress
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca.server_tls import ServerCertificate, ServerNames
from pb.meshwright.join.v1.join_pb2 import RenewRequest
from tests.support.ca_builders import (
    START,
    Credentials,
    HandClock,
    a_csr,
    a_join_server,
    an_authority,
    no_chance,
)


async def presented(address: str, bundle: Path) -> x509.Certificate:
    """The certificate that a server shows to a new connection, verified for localhost."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(bundle))
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return x509.load_der_x509_certificate(shown)


def test_names_are_told_from_addresses() -> None:
    names = ServerNames.parse(["mesh.example.org", "10.1.2.3", "fd00::1"])
    assert names.dns_names == ("mesh.example.org",)
    assert names.addresses == (ipaddress.IPv4Address("10.1.2.3"), ipaddress.IPv6Address("fd00::1"))


async def test_a_new_connection_sees_the_renewed_certificate_and_old_ones_live(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        client = await Credentials.issue(server.authority)
        first = await presented(server.join_address, server.bundle)
        async with server.stub(server.renew_address, client) as stub:
            await stub.Renew(RenewRequest(csr=a_csr().der), timeout=10)
            await server.certificate.renew()
            await stub.Renew(RenewRequest(csr=a_csr().der), timeout=10)
        second = await presented(server.join_address, server.bundle)
        third = await presented(server.join_address, server.bundle)
        assert first.serial_number != second.serial_number
        assert second.serial_number == third.serial_number


async def test_the_certificate_has_every_name(tmp_path: Path) -> None:
    async with a_join_server(tmp_path) as server:
        shown = await presented(server.join_address, server.bundle)
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["control-plane.meshwright.example.org", "localhost"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1",
        "::1",
        "127.0.0.9",
    ]


async def test_it_says_when_to_renew(tmp_path: Path) -> None:
    clock = HandClock()
    certificate = ServerCertificate(an_authority(tmp_path, clock), ServerNames(), clock, no_chance)
    with pytest.raises(RuntimeError, match="renew"):
        certificate.credentials(require_client=False)
    await certificate.renew()
    assert certificate.renew_at == START + timedelta(hours=12)
    assert certificate.due_in() == 12 * 3600
    clock.move(timedelta(hours=13))
    assert certificate.due_in() == 0
    assert certificate.not_after == START + timedelta(hours=24)
    assert "PRIVATE" not in repr(certificate._current)
