"""The rules as values: which packets the kernel hands to the sidecar. Pure: options in, frozen tables out.

Each rule is written exactly as `iptables-save` writes it, so that what is there can be compared with what is wanted, as text.
REDIRECT sends a packet to a port of this host and keeps where it was going, which Envoy's `original_dst` listener filter asks
for: https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/listeners/listener_filters/original_dst_filter
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network

from agent.intercept.options import SSH, Address, InterceptOptions, Network

PREFIX = "MESHWRIGHT_"
"""What every chain of ours begins with, and none of anybody else's."""

INBOUND = f"{PREFIX}INBOUND"
OUTPUT = f"{PREFIX}OUTPUT"
DNS = f"{PREFIX}DNS"

ZONE = 15053
"""The zone of connection tracking that applications' intercepted queries are in. See `_raw`."""

OPEN_ALREADY = "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j RETURN"
"""A host without such rules may track no connections at all; when the first rules come, each connection that is open then looks new,
and begins with whichever packet is next: often an answer, which must not be sent anywhere else. Only a SYN begins one."""


class Family(Enum):
    IPV4 = 4
    IPV6 = 6

    def __str__(self) -> str:
        return f"IPv{self.value}"

    @property
    def loopback(self) -> Network:
        return ip_network("127.0.0.0/8" if self is Family.IPV4 else "::1/128")

    @property
    def passthrough(self) -> Address:
        """What the sidecar binds to when it passes an inbound connection on to where it was going.

        127.0.0.6 is this host's without any set-up; ::6 has to be added to lo.
        """
        return ip_address("127.0.0.6" if self is Family.IPV4 else "::6")

    def matching(self, flag: str, networks: Iterable[Network]) -> tuple[str, ...]:
        """The beginnings of rules that match those of `networks` that are of this family; `flag` is -s or -d."""
        own = (each for each in dict.fromkeys(networks) if each.version == self.value)
        # iptables leaves out what matches everything.
        return tuple(f"{flag} {each} " if each.prefixlen else "" for each in own)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of ours and its rules, each without its `-A <chain>`."""

    name: str
    rules: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        return tuple(f"-A {self.name} {rule}" for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Table:
    """What one table of one family shall hold of ours. `jumps` lead from the kernel's own chains into ours, as whole lines."""

    family: Family
    name: str
    jumps: tuple[str, ...]
    chains: tuple[Chain, ...]


def rules(options: InterceptOptions) -> tuple[Table, ...]:
    """The tables that `options` ask for: at most `raw` and `nat` of each family, `raw` first."""
    families = tuple(Family) if options.ipv6 else (Family.IPV4,)
    made = (table for family in families for table in (_raw(family, options), _nat(family, options)))
    return tuple(table for table in made if table.chains)


def _nat(family: Family, options: InterceptOptions) -> Table:
    jumps: list[str] = []
    chains: list[Chain] = []
    if options.inbound_port is not None:
        # A host may also route for others (containers): what is not for this host is not for its sidecar.
        jumps.append(f"-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -j {INBOUND}")
        chains.append(Chain(INBOUND, tuple(_inbound(family, options, options.inbound_port))))
    if options.outbound_port is not None or options.inbound_port is not None:
        jumps.append(f"-A OUTPUT -p tcp -j {OUTPUT}")
    elif options.dns_port is not None:
        jumps.append(f"-A OUTPUT -p tcp -m tcp --dport 53 -j {OUTPUT}")
    if options.dns_port is not None:
        jumps.append(f"-A OUTPUT -p udp -m udp --dport 53 -j {OUTPUT}")
    chains.append(Chain(OUTPUT, tuple(_output(family, options))))
    return Table(family, "nat", tuple(jumps), tuple(chains))


def _inbound(family: Family, options: InterceptOptions, port: int) -> Iterator[str]:
    yield OPEN_ALREADY
    for callers in family.matching("-s", options.exclude_inbound_networks):
        yield f"{callers}-j RETURN"
    excluded = set(options.exclude_inbound_ports)
    if SSH not in options.include_inbound_ports:
        excluded.add(SSH)
    for each in sorted(excluded):
        yield f"-p tcp -m tcp --dport {each} -j RETURN"
    if options.include_inbound_ports:
        for each in sorted(set(options.include_inbound_ports) - excluded):
            yield f"-p tcp -m tcp --dport {each} -j REDIRECT --to-ports {port}"
    else:
        yield f"-p tcp -j REDIRECT --to-ports {port}"


def _output(family: Family, options: InterceptOptions) -> Iterator[str]:
    yield OPEN_ALREADY
    if options.inbound_port is not None:
        # The last step of an inbound connection: from the sidecar to the application, at the address of this host.
        yield f"-s {ip_network(family.passthrough)} -o lo -j RETURN"
        # The sidecar calls its own host, for a service that this host serves too: such a caller comes in as any other.
        yield f"! -d {family.loopback} -o lo -p tcp -m owner --uid-owner {options.proxy_user} -j {INBOUND}"
    yield from _owners(options)
    for destination in family.matching("-d", options.exclude_outbound_networks):
        yield f"{destination}-j RETURN"
    for each in sorted(set(options.exclude_outbound_ports)):
        yield f"-p tcp -m tcp --dport {each} -j RETURN"
    if options.dns_port is not None:
        # Before loopback: the server that an application asks may be a cache on this host.
        for server in _servers(family, options):
            for protocol in ("udp", "tcp"):
                yield f"{server}-p {protocol} -m {protocol} --dport 53 -j REDIRECT --to-ports {options.dns_port}"
    if options.outbound_port is None:
        return
    yield "-o lo -j RETURN"
    if options.include_outbound_networks:
        for destination in family.matching("-d", options.include_outbound_networks):
            yield f"{destination}-p tcp -j REDIRECT --to-ports {options.outbound_port}"
    else:
        yield f"-p tcp -j REDIRECT --to-ports {options.outbound_port}"


def _raw(family: Family, options: InterceptOptions) -> Table:
    """Intercepted queries are tracked apart from all others.

    UDP has no end that could be seen: the kernel goes on translating an application's port for half a minute after the
    application has gone. When Envoy then happens to get that port to ask the same server, its query would be sent back to
    it. In zones of their own the two are never taken for each other. Only packets on lo are in that zone, so that
    a firewall sees replies from outside as ever.
    """
    if options.dns_port is None:
        return Table(family, "raw", (), ())
    lines = [f"-p udp -m udp --sport {options.dns_port} -j CT --zone {ZONE}"]
    lines += _owners(options)
    lines += [f"{each}-j RETURN" for each in family.matching("-d", options.exclude_outbound_networks)]
    lines += [f"{server}-p udp -m udp --dport 53 -j CT --zone {ZONE}" for server in _servers(family, options)]
    return Table(family, "raw", (f"-A OUTPUT -p udp -j {DNS}",), (Chain(DNS, tuple(lines)),))


def _owners(options: InterceptOptions) -> Iterator[str]:
    """Whose packets are left alone, the sidecar's own first."""
    for user in dict.fromkeys((options.proxy_user, *sorted(options.exclude_users))):
        yield f"-m owner --uid-owner {user} -j RETURN"
    for group in sorted(set(options.exclude_groups)):
        yield f"-m owner --gid-owner {group} -j RETURN"


def _servers(family: Family, options: InterceptOptions) -> tuple[str, ...]:
    """The beginnings of rules that match the servers whose queries are taken: one that matches all, if none is named."""
    if not options.dns_servers:
        return ("",)
    return family.matching("-d", map(ip_network, options.dns_servers))
