"""What the agent is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from agent.app_checks import AppAddress
from agent.app_probes import AppCheck
from agent.errors import BadOption
from agent.renew import Membership, TokenSource
from ca.keys import KeyType
from envoy.names import LOCAL_CLUSTER
from mesh.names import Key
from mesh.workload import Locality


class Keys(StrEnum):
    """Who makes the key of the workload's traffic, and gives it to Envoy."""

    AGENT = "agent"
    """The agent, on a Unix socket: the key never leaves the host."""
    CONTROL_PLANE = "control-plane"
    """The control plane, over the proxy's connection to it."""


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """One proxy: whose sidecar it is, which control plane it follows, and where its files are.

    Addresses are `host:port`. `control_plane` is the ADS port, where certificates are renewed too; `join` the port of
    the first certificate. Without `join` the proxy is not a member: it follows a control plane on loopback in plaintext and
    has no identity, which that control plane must have been told to allow. `directory` belongs to this one workload.
    `cluster` is Envoy's name for the group of equal proxies (default: the workload). `local_service` is the name of the
    endpoints of the workload's own service, for zone-aware routing: every member is told them. `locality`: where the proxy is; unset, what the control plane says of the workload when it joins.
    `admin_port` 0 takes a free one, told in
    `<directory>/bootstrap.admin-address`; with `admin_socket` Envoy's admin interface is on a Unix socket instead, which nobody
    but this user reaches. `short_directory` is for a socket whose path would be too long in `directory`. Without `starts_envoy`
    somebody else starts Envoy by `<directory>/bootstrap.json`, and again when it ends. `drain_time` is in seconds. Without `envoy_log` Envoy writes to our own output.
    `envoy_environment` are variables that Envoy sees besides those that it needs (`envoy.environment`). `leave_patience`, in seconds, is for
    callers to hear that the proxy ends; not longer than draining when unset. On `agent_port` the agent answers an orchestrator (`agent.attendant`),
    and makes `app_checks` of the application at `app_address`.
    """

    workload: Key
    trust_domain: str
    control_plane: str
    directory: Path
    join: str | None = None
    bundle: Path | None = None
    token: TokenSource = field(default_factory=TokenSource)
    key_type: KeyType = KeyType.ECDSA_P256
    keys: Keys = Keys.AGENT
    short_directory: Path = Path("/tmp")  # noqa: S108 - only a directory of our own in it is used
    starts_envoy: bool = True
    cluster: str = ""
    local_service: str | None = LOCAL_CLUSTER
    locality: Locality = Locality()
    admin_port: int = 0
    admin_socket: bool = False
    drain_time: int = 45
    envoy: Path | None = None
    envoy_log: Path | None = None
    envoy_log_level: str = "warning"
    concurrency: int | None = None
    envoy_environment: tuple[str, ...] = ()
    leave_patience: float | None = None
    agent_port: int | None = None
    app_checks: Mapping[str, AppCheck] = field(default_factory=dict)
    app_address: AppAddress = AppAddress()

    def membership(self) -> Membership | None:
        """None for a proxy that is not a member; BadOption if something is missing or cannot be."""
        if self.join is None:
            return None
        if self.bundle is None:
            raise BadOption("a proxy that joins needs the mesh's trust bundle: give --bundle")
        for address in (self.join, self.control_plane):
            host_and_port(address)
        return Membership(
            workload=self.workload,
            trust_domain=self.trust_domain,
            join_address=self.join,
            renew_address=self.control_plane,
            bundle=self.bundle,
            tokens=self.token,
            key_type=self.key_type,
        )


def host_and_port(address: str) -> tuple[str, int]:
    """`host:port` or `[IPv6]:port` in two; BadOption if it is not that."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadOption(f"{address!r} is not host:port")
    return host, int(port)
