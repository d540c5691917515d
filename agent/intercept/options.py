"""What is intercepted, and what is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from agent.intercept.errors import BadInterception

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
DNS_PORT = 15053
SSH = 22
"""Left alone unless it is named: who sets up a host from afar must not lock himself out."""

HIGHEST_ID = 2**32 - 2
"""The highest user or group id of Linux: the one above says "none"."""


@dataclass(frozen=True, slots=True)
class InterceptOptions:
    """What goes through the sidecar. BadInterception for values that cannot be.

    `proxy_user` is the user id that Envoy runs as: what it sends is never sent back to it. `outbound_port` and `inbound_port`
    are the sidecar's listeners for either direction; None leaves that direction alone. With `dns_port` queries (UDP and TCP,
    port 53) go there: those to `dns_servers`, or to any server if that is empty.

    Left alone always: what stays on the host (device lo; queries for names apart) and, inbound, SSH. `exclude_*` leaves more
    alone, and wins over `include_*`, which, if not empty, narrows what is taken to what it names. Inbound networks are
    those of the callers, outbound networks those of the destinations. Users and groups are those of applications.
    """

    proxy_user: int
    outbound_port: int | None = OUTBOUND_PORT
    inbound_port: int | None = INBOUND_PORT
    dns_port: int | None = None
    dns_servers: tuple[Address, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_networks: tuple[Network, ...] = ()
    include_outbound_networks: tuple[Network, ...] = ()
    exclude_inbound_ports: tuple[int, ...] = ()
    exclude_inbound_networks: tuple[Network, ...] = ()
    include_inbound_ports: tuple[int, ...] = ()
    exclude_users: tuple[int, ...] = ()
    exclude_groups: tuple[int, ...] = ()
    ipv6: bool = True

    def __post_init__(self) -> None:
        own = [each for each in (self.outbound_port, self.inbound_port, self.dns_port) if each is not None]
        if not own:
            raise BadInterception("nothing is to be intercepted: leave one direction on, or use --remove")
        if len(set(own)) != len(own):
            raise BadInterception(f"the sidecar's ports must differ: {', '.join(map(str, own))}")
        for port in (
            *own,
            *self.exclude_outbound_ports,
            *self.exclude_inbound_ports,
            *self.include_inbound_ports,
        ):
            if not 0 < port < 65536:
                raise BadInterception(f"{port} is not a port: use 1 to 65535")
        for number in (self.proxy_user, *self.exclude_users, *self.exclude_groups):
            if not 0 <= number <= HIGHEST_ID:
                raise BadInterception(f"{number} is not the id of a user or group: use 0 to {HIGHEST_ID}")
        if self.dns_servers and self.dns_port is None:
            raise BadInterception(
                "servers of names are given, but queries for names are not intercepted: add --dns"
            )
