"""What a workload says of the interception of its traffic: which ports its sidecar takes it on, and what it lets in without mesh TLS."""

from __future__ import annotations

from dataclasses import dataclass

INBOUND_PORT = 15006
"""Where the kernel sends connections to the workload (`meshwright intercept --inbound-port`)."""

DNS_PORT = 15053
"""Where it sends queries for names (`--dns-port`)."""


@dataclass(frozen=True, slots=True, order=True)
class PlainCheck:
    """A health check by somebody who has no mesh TLS: requests for `path` on the application's `port`, or all of that port."""

    port: int
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Interception:
    """The host's TCP goes through the sidecar, which has to listen where the rules send it.

    Outbound connections come to the workload's `outbound_port`. `ipv6`: whether the host has IPv6 at all.
    """

    inbound_port: int = INBOUND_PORT
    dns_port: int = DNS_PORT
    ipv6: bool = True
    checks: tuple[PlainCheck, ...] = ()
