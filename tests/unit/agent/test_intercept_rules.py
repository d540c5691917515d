from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest

from agent.errors import AgentError
from agent.intercept.errors import BadInterception
from agent.intercept.options import InterceptOptions
from agent.intercept.rules import PREFIX, Family, Table, rules


def text(table: Table) -> str:
    """The rules of a table, as one reads them."""
    return "\n".join([*table.jumps, *(line for chain in table.chains for line in chain.lines())])


def test_by_default_all_tcp_of_both_families_goes_through_the_sidecar() -> None:
    four, six = rules(InterceptOptions(proxy_user=1337))
    assert (four.family, four.name, six.family, six.name) == (Family.IPV4, "nat", Family.IPV6, "nat")
    assert text(four) == (
        "-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j MESHWRIGHT_INBOUND\n"
        "-A OUTPUT -p tcp -j MESHWRIGHT_OUTPUT\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp --dport 22 -j RETURN\n"
        "-A MESHWRIGHT_INBOUND -p tcp -j REDIRECT --to-ports 15006\n"
        "-A MESHWRIGHT_OUTPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT ! -d 127.0.0.0/8 -o lo -p tcp -m owner --uid-owner 1337 -j MESHWRIGHT_INBOUND\n"
        "-A MESHWRIGHT_OUTPUT -m owner --uid-owner 1337 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -o lo -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -p tcp -j REDIRECT --to-ports 15001"
    )
    assert text(six) == text(four).replace("127.0.0.6/32", "::6/128").replace("127.0.0.0/8", "::1/128")


def test_every_option_at_once() -> None:
    options = InterceptOptions(
        proxy_user=1337,
        outbound_port=1,
        inbound_port=2,
        dns_port=3,
        dns_servers=(ip_address("10.0.0.53"), ip_address("fd00::53")),
        exclude_outbound_ports=(9001, 9000),
        exclude_outbound_networks=(ip_network("10.1.0.0/16"), ip_network("fd01::/16")),
        include_outbound_networks=(ip_network("240.0.0.0/4"), ip_network("fd02::/16")),
        exclude_inbound_ports=(8001, 8000, 8002),
        exclude_inbound_networks=(ip_network("10.2.0.9"), ip_network("fd03::9")),
        include_inbound_ports=(80, 8000, 22),
        exclude_users=(7, 6, 1337, 7),
        exclude_groups=(8,),
    )
    raw4, nat4, raw6, nat6 = rules(options)
    assert text(raw4) == (
        "-A OUTPUT -p udp -j MESHWRIGHT_DNS\n"
        "-A MESHWRIGHT_DNS -p udp -m udp --sport 3 -j CT --zone 15053\n"
        "-A MESHWRIGHT_DNS -m owner --uid-owner 1337 -j RETURN\n"
        "-A MESHWRIGHT_DNS -m owner --uid-owner 6 -j RETURN\n"
        "-A MESHWRIGHT_DNS -m owner --uid-owner 7 -j RETURN\n"
        "-A MESHWRIGHT_DNS -m owner --gid-owner 8 -j RETURN\n"
        "-A MESHWRIGHT_DNS -d 10.1.0.0/16 -j RETURN\n"
        "-A MESHWRIGHT_DNS -d 10.0.0.53/32 -p udp -m udp --dport 53 -j CT --zone 15053"
    )
    assert text(nat4) == (
        "-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j MESHWRIGHT_INBOUND\n"
        "-A OUTPUT -p tcp -j MESHWRIGHT_OUTPUT\n"
        "-A OUTPUT -p udp -m udp --dport 53 -j MESHWRIGHT_OUTPUT\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN\n"
        "-A MESHWRIGHT_INBOUND -s 10.2.0.9/32 -j RETURN\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp --dport 8000 -j RETURN\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp --dport 8001 -j RETURN\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp --dport 8002 -j RETURN\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp --dport 22 -j REDIRECT --to-ports 2\n"
        "-A MESHWRIGHT_INBOUND -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 2\n"
        "-A MESHWRIGHT_OUTPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT ! -d 127.0.0.0/8 -o lo -p tcp -m owner --uid-owner 1337 -j MESHWRIGHT_INBOUND\n"
        "-A MESHWRIGHT_OUTPUT -m owner --uid-owner 1337 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -m owner --uid-owner 6 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -m owner --uid-owner 7 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -m owner --gid-owner 8 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -d 10.1.0.0/16 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -p tcp -m tcp --dport 9000 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -p tcp -m tcp --dport 9001 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -d 10.0.0.53/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports 3\n"
        "-A MESHWRIGHT_OUTPUT -d 10.0.0.53/32 -p tcp -m tcp --dport 53 -j REDIRECT --to-ports 3\n"
        "-A MESHWRIGHT_OUTPUT -o lo -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -d 240.0.0.0/4 -p tcp -j REDIRECT --to-ports 1"
    )
    for four, six in ((raw4, raw6), (nat4, nat6)):
        as_six = text(four)
        for old, new in (
            ("127.0.0.6/32", "::6/128"),
            ("127.0.0.0/8", "::1/128"),
            ("10.0.0.53/32", "fd00::53/128"),
            ("10.1.0.0/16", "fd01::/16"),
            ("240.0.0.0/4", "fd02::/16"),
            ("10.2.0.9/32", "fd03::9/128"),
        ):
            as_six = as_six.replace(old, new)
        assert text(six) == as_six


def test_one_direction_alone() -> None:
    (outbound,) = rules(InterceptOptions(proxy_user=1, inbound_port=None, ipv6=False))
    assert text(outbound) == (
        "-A OUTPUT -p tcp -j MESHWRIGHT_OUTPUT\n"
        "-A MESHWRIGHT_OUTPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -m owner --uid-owner 1 -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -o lo -j RETURN\n"
        "-A MESHWRIGHT_OUTPUT -p tcp -j REDIRECT --to-ports 15001"
    )
    (inbound,) = rules(InterceptOptions(proxy_user=1, outbound_port=None, ipv6=False))
    assert "15001" not in text(inbound)
    assert text(inbound).endswith("-A MESHWRIGHT_OUTPUT -m owner --uid-owner 1 -j RETURN")
    raw, names = rules(
        InterceptOptions(proxy_user=1, outbound_port=None, inbound_port=None, dns_port=53, ipv6=False)
    )
    assert raw.name == "raw"
    assert names.jumps == (
        "-A OUTPUT -p tcp -m tcp --dport 53 -j MESHWRIGHT_OUTPUT",
        "-A OUTPUT -p udp -m udp --dport 53 -j MESHWRIGHT_OUTPUT",
    )


def test_a_network_of_everything_is_written_as_iptables_writes_it() -> None:
    (table,) = rules(
        InterceptOptions(proxy_user=1, exclude_inbound_networks=(ip_network("0.0.0.0/0"),), ipv6=False)
    )
    assert "-A MESHWRIGHT_INBOUND -j RETURN" in text(table).splitlines()


def test_names_of_chains_are_ours_and_short_enough_for_the_kernel() -> None:
    for table in rules(InterceptOptions(proxy_user=1, dns_port=53)):
        for chain in table.chains:
            assert chain.name.startswith(PREFIX)
            assert len(chain.name) < 29


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InterceptOptions(1, outbound_port=None, inbound_port=None), "nothing is to be intercepted"),
        (
            lambda: InterceptOptions(1, outbound_port=5, inbound_port=5),
            "the sidecar's ports must differ: 5, 5",
        ),
        (lambda: InterceptOptions(1, exclude_inbound_ports=(70000,)), "70000 is not a port"),
        (lambda: InterceptOptions(1, dns_port=0), "0 is not a port"),
        (lambda: InterceptOptions(-1), "-1 is not the id of a user or group"),
        (lambda: InterceptOptions(1, exclude_groups=(2**32 - 1,)), "4294967295 is not the id"),
        (lambda: InterceptOptions(1, dns_servers=(ip_address("10.0.0.1"),)), "add --dns"),
    ],
)
def test_options_that_cannot_be(make: Callable[[], InterceptOptions], message: str) -> None:
    with pytest.raises(BadInterception, match=message) as raised:
        make()
    assert isinstance(raised.value, AgentError)
    assert raised.value.exit_code == 2
