"""Services outside the mesh: what calls to them need, and which of them has a host name.

An ExternalService is a service like any other to callers, routes and policies, so it shares the names of services; but
no workload serves it, and it is called by the host names that it has outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from immutables import Map

from mesh.names import DEFAULT_PORT, Key
from mesh.secrets import Bundle

if TYPE_CHECKING:
    from mesh.service import Service
    from mesh.state import MeshState

WILDCARD = "*."
Hosts = Map[str, tuple[Key, ...]]
"""Who claims each host name, sorted; the first one has it."""


class Resolution(StrEnum):
    """How addresses are found: by the names, through the resolver of the caller's own host; or they are given. LOGICAL takes one
    address at a time, for names that stand for very many, which come and go.
    """

    DNS = "dns"
    LOGICAL = "logicalDns"
    STATIC = "static"


@dataclass(frozen=True, slots=True)
class ForeignService:
    """A service of a mesh whose trust domain is federated, and the SPIFFE ids that may answer for it: never none."""

    service: Key
    trust_domain: str
    identities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origination:
    """TLS that the caller's sidecar speaks on behalf of an application which does not. Files are paths on the sidecar's host.

    `sni` None: the host that is called. The certificate must have one of `names` (None: the SNI) and come from an authority
    of `ca_file`, PEM (None: the system's), or of the Secret documents of `authorities`, where those are not None; of none, nobody is
    trusted. `certificate_file` and `key_file` are both there, or neither: what is shown to the server; else the Secret document
    `certificate` says that, of the gateway that calls.

    `mesh`: it is a sidecar of another mesh, and mesh TLS is spoken to it; nothing else counts then.
    """

    sni: str | None = None
    names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    authorities: Bundle | None = None
    certificate: Key | None = None
    mesh: ForeignService | None = None


@dataclass(frozen=True, slots=True)
class External:
    """`hosts` are in lower case; either all begin with `*.`, and each name is resolved by itself, or none.

    `endpoints`: IP addresses, or under DNS names that are resolved in place of the one host. `targets`: for port numbers whose
    number outside is another one.
    """

    hosts: tuple[str, ...]
    resolution: Resolution = Resolution.DNS
    endpoints: tuple[str, ...] = ()
    tls: Origination | None = None
    targets: tuple[tuple[int, int], ...] = ()

    @property
    def wildcard(self) -> bool:
        return any(host.startswith(WILDCARD) for host in self.hosts)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Names or IP addresses to connect to; none for a wildcard."""
        return () if self.wildcard else self.endpoints or self.hosts

    @property
    def host(self) -> str:
        """What a server outside takes itself for, where a request says something else; empty for a wildcard."""
        return "" if self.wildcard else self.hosts[0]

    def target(self, port: int) -> int:
        return dict(self.targets).get(port, port)


def authorities(hosts: Iterable[str], port: int) -> tuple[str, ...]:
    """The values of `:authority` that mean `port` of a service of these hosts, as `names.authorities` has it."""
    known = tuple(hosts)
    with_port = tuple(f"{host}:{port}" for host in known)
    return (*known, *with_port) if port == DEFAULT_PORT else with_port


def claimed(hosts: Hosts, old: Service | None, new: Service | None) -> Hosts:
    """`hosts` when `old` has become `new`."""
    for service in (old, new):
        if service is None or service.external is None:
            continue
        for host in service.external.hosts:
            others = tuple(each for each in hosts.get(host, ()) if each != service.key)
            claims = tuple(sorted((*others, service.key))) if service is new else others
            hosts = hosts.set(host, claims) if claims else hosts.delete(host)
    return hosts


def owned(state: MeshState, service: Service) -> tuple[str, ...]:
    """The hosts that lead to `service`: those that it claims first, and that are not names of the mesh."""
    if service.external is None:
        return ()
    return tuple(
        host
        for host in service.external.hosts
        if state.hosts.get(host, ())[:1] == (service.key,) and _mesh_service(state, host) is None
    )


def moved(old: MeshState, new: MeshState, changed: Iterable[Key]) -> tuple[Hosts, frozenset[Key], bool]:
    """When the services of `changed` have changed: who claims which host now, which other services that concerns, and
    whether wildcards are among it, which are a matter of every caller's listeners.
    """
    hosts, concerned, wildcards = new.hosts, set[Key](), False
    for key in changed:
        was, now = old.services.get(key), new.services.get(key)
        hosts = claimed(hosts, was, now)
        for service in (was, now):
            external = service.external if service is not None else None
            if external is None:
                # A name of the mesh, `<service>.<namespace>`, may be a host that somebody claims.
                names: tuple[str, ...] = (f"{key.name}.{key.namespace}",)
            else:
                names, wildcards = external.hosts, wildcards or external.wildcard
            for name in names:
                concerned.update(old.hosts.get(name, ()), hosts.get(name, ()))
    return hosts, frozenset(each for each in concerned if each in new.services), wildcards


def left_out(state: MeshState) -> Iterable[str]:
    """A line for each host that a service claims in vain."""
    for host, claims in sorted(state.hosts.items()):
        service = _mesh_service(state, host)
        if service is not None:
            yield f"host {host} of ExternalService {claims[0]} is left out: it is a name of service {service}. Rename that service"
        for other in claims[1:]:
            yield (
                f"host {host} of ExternalService {other} is left out: ExternalService {claims[0]} has it. "
                "Remove it from one of them"
            )


def without_routes(state: MeshState) -> Iterable[str]:
    """A line for each service whose routes have no effect, for its hosts are wildcards: they are told apart before any route is."""
    for key in sorted(state.routing.attached):
        service = state.services.get(key)
        if service is not None and service.external is not None and service.external.wildcard:
            routes = ", ".join(f"{each.kind} {each.key}" for each in state.routing.attached[key])
            yield (
                f"{routes}: no effect on ExternalService {key}, whose hosts are wildcards. Declare an ExternalService for the "
                "host that is meant, and attach them to that"
            )


def _mesh_service(state: MeshState, host: str) -> Key | None:
    """The service of the mesh that `host` is a name of, as `<service>.<namespace>`."""
    name, dot, namespace = host.partition(".")
    key = Key(namespace, name)
    found = state.services.get(key) if dot else None
    return key if found is not None and found.external is None else None
