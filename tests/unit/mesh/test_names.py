from __future__ import annotations

import ipaddress

import pytest

from mesh.errors import InvalidName
from mesh.identity import Identity
from mesh.names import (
    VIRTUAL_NETWORK,
    Key,
    authorities,
    check_label,
    hostnames,
    is_local,
    sni,
    virtual_address,
)

API = Key("shop", "api")


def test_names_by_caller() -> None:
    assert hostnames(API, "other") == ("api.shop.mesh", "api.shop")
    assert hostnames(API, "shop") == ("api.shop.mesh", "api.shop", "api.mesh", "api")


def test_the_port_may_be_left_out_when_it_is_80() -> None:
    assert authorities(API, 80, "other") == ("api.shop.mesh", "api.shop", "api.shop.mesh:80", "api.shop:80")
    assert authorities(API, 81, "other") == ("api.shop.mesh:81", "api.shop:81")


def test_sni() -> None:
    assert sni(API, 80, "mesh.test") == "80.api.shop.mesh.test"


def test_virtual_addresses_are_stable_and_in_their_network() -> None:
    assert virtual_address(API) == virtual_address(Key("shop", "api"))
    assert ipaddress.IPv4Address(virtual_address(API)) in VIRTUAL_NETWORK
    assert len({virtual_address(Key("shop", f"s{n}")) for n in range(1000)}) == 1000


@pytest.mark.parametrize("label", ["", "-a", "a-", "A", "a.b", "a_b", "x" * 64, "ä"])
def test_labels(label: str) -> None:
    with pytest.raises(InvalidName):
        check_label("name", label)


def test_keys() -> None:
    assert Key.parse("api") == Key("default", "api")
    assert Key.parse("shop/api") == API
    for text in ("", "/", "shop/", "/api"):
        with pytest.raises(InvalidName):
            Key.parse(text)


def test_identities() -> None:
    identity = Identity("mesh.test", "shop", "api")
    assert str(identity) == "spiffe://mesh.test/ns/shop/sa/api"
    assert Identity.parse(str(identity)) == identity
    for uri in (
        "spiffe://mesh.test/ns/shop",
        "https://mesh.test/ns/shop/sa/api",
        "spiffe://UPPER/ns/a/sa/b",
        "",
    ):
        with pytest.raises(InvalidName):
            Identity.parse(uri)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost.", "a.localhost", "localhost.localdomain", "localhost6", "localhost6.localdomain6", "ip6-loopback",
        "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0",
        "::ffff:169.254.1.1", "127.1", "2130706433", "0x7f.1", "a.0x7f000001", "0177.0.0.1",
    ],
)  # fmt: skip
def test_what_is_on_the_callers_own_host_or_link(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "mylocalhost", "a.example", "10.0.0.1", "192.0.2.1", "2001:db8::1", "fd00::1", "1.example", "240.0.0.1", ""]
)  # fmt: skip
def test_what_is_elsewhere(host: str) -> None:
    assert not is_local(host)
