"""The kind ExternalService: something outside the mesh that workloads call."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Envelope, Name, Part, Port, PortName, Problem, repeated, wrong
from documents.service import Address, port_problems, port_values
from mesh.external import WILDCARD, External, ForeignService, Origination, Resolution
from mesh.identity import TRUST_DOMAIN, Identity
from mesh.names import MESH_SUFFIX, Key, is_address
from mesh.service import Protocol, Service, labels

_LABEL = r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})+")
MAX_NAME = 253


def _dns_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME or is_address(name):
        raise wrong(f"{text!r} is not a DNS name", "Give it in full, as api.example.com")
    return name


def _host(text: str) -> str:
    name = _dns_name(text.removeprefix(WILDCARD))
    if name.endswith(f".{MESH_SUFFIX}"):
        raise wrong(
            f"{text!r} is a name of this mesh", f"Names that end in .{MESH_SUFFIX} are those of services"
        )
    return WILDCARD + name if text.startswith(WILDCARD) else name


def _endpoint(text: str) -> str:
    return str(ipaddress.ip_address(text)) if is_address(text) else _dns_name(text)


def _file(text: str) -> str:
    if not PurePosixPath(text).is_absolute() or "\0" in text:
        raise wrong(f"{text!r} is not an absolute path", "Say where the file is on the host of the sidecar")
    return text


Host = Annotated[str, AfterValidator(_host)]
DnsName = Annotated[str, AfterValidator(_dns_name)]
EndpointAddress = Annotated[str, AfterValidator(_endpoint)]
File = Annotated[str, AfterValidator(_file)]


class TlsMode(StrEnum):
    NONE = "none"
    SIMPLE = "simple"
    MUTUAL = "mutual"
    MESH = "mesh"


class ExternalPortSpec(Part):
    name: PortName = Field(description="Unique in this service.")
    port: Port = Field(description="The number that callers use.")
    target_port: Port | None = Field(None, description="The number outside; by default the same.")
    protocol: Protocol = Field(
        Protocol.TCP, strict=False, description="What callers speak. Never guessed: undeclared means tcp."
    )


class ForeignServiceSpec(Part):
    trust_domain: str = Field(
        pattern=f"^{TRUST_DOMAIN.pattern}$",
        description="Its trust domain; the control plane's setting federation has its bundle.",
    )
    namespace: Name = Field(description="Of the service, there.")
    service: Name = Field(
        description="Its name, there. The port is that of `ports`; targetPort is the sidecar's."
    )
    service_accounts: list[Name] = Field(
        [], description="Whose identity may answer; by default the service account of the service's own name."
    )

    def value(self) -> ForeignService:
        accounts = sorted(self.service_accounts or [self.service])
        identities = tuple(Identity(self.trust_domain, self.namespace, each).uri for each in accounts)
        return ForeignService(Key(self.namespace, self.service), self.trust_domain, identities)


class TlsSpec(Part):
    mode: TlsMode = Field(
        TlsMode.SIMPLE,
        strict=False,
        description="simple: the sidecar speaks TLS for the application. mutual: and shows a certificate. none: neither. "
        "mesh: it is the sidecar of a service of another mesh, whose trust domain is federated.",
    )
    sni: DnsName | None = Field(None, description="By default the host that is called.")
    subject_alt_names: list[Host] = Field(
        [], description="One of them must be in the server's certificate; by default the server name (SNI)."
    )
    ca_file: File | None = Field(
        None, description="PEM, on the host of the sidecar; by default the authorities of that system."
    )
    certificate_file: File | None = Field(None, description="For mutual: PEM, on the host of the sidecar.")
    private_key_file: File | None = Field(None, description="For mutual: PEM, on the host of the sidecar.")

    mesh: ForeignServiceSpec | None = Field(None, description="For mesh: which service it is there.")

    def problems(self) -> Iterator[Problem]:
        at = ("spec", "tls")
        if self.mode is TlsMode.MESH:
            yield from self._mesh_problems()
        elif self.mesh is not None:
            yield Problem((*at, "mesh"), "mesh has no effect", "Set mode: mesh, or remove it")
        for name, file in (
            ("certificateFile", self.certificate_file),
            ("privateKeyFile", self.private_key_file),
        ):
            if self.mode is TlsMode.MUTUAL and file is None:
                yield Problem(
                    (*at, name), f"{name} is missing", "mode: mutual shows a certificate: say which"
                )
            if self.mode is not TlsMode.MUTUAL and file is not None:
                yield Problem((*at, name), f"{name} has no effect", "Set mode: mutual, or remove it")

    def _mesh_problems(self) -> Iterator[Problem]:
        at = ("spec", "tls")
        if self.mesh is None:
            yield Problem(
                (*at, "mesh"), "mesh is missing", "mode: mesh calls a service of another mesh: say which"
            )
        for name, given in (
            ("sni", self.sni),
            ("subjectAltNames", self.subject_alt_names),
            ("caFile", self.ca_file),
        ):
            if given:
                yield Problem(
                    (*at, name),
                    f"{name} has no effect",
                    "Between meshes, mesh says who must answer: remove it",
                )

    def value(self) -> Origination | None:
        if self.mode is TlsMode.NONE:
            return None
        if self.mode is TlsMode.MESH:
            return None if self.mesh is None else Origination(mesh=self.mesh.value())
        return Origination(
            self.sni,
            tuple(self.subject_alt_names),
            (),
            self.ca_file,
            self.certificate_file,
            self.private_key_file,
        )


class ExternalServiceSpec(Part):
    hosts: list[Host] = Field(
        min_length=1, description="What callers call it, as api.example.com or *.example.com."
    )
    ports: list[ExternalPortSpec] = Field(
        min_length=1, description="Where callers call it, and what is spoken."
    )
    resolution: Resolution = Field(
        Resolution.DNS,
        strict=False,
        description="dns: the sidecar resolves the host, or the endpoints, and balances over all addresses. logicalDns: it "
        "connects to the first address, for names that stand for very many. static: endpoints are IP addresses.",
    )
    endpoints: list[EndpointAddress] = Field(
        [], description="Addresses, or under dns also names, to connect to."
    )
    tls: TlsSpec | None = Field(None, description="TLS that the sidecar speaks to it for the application.")
    address: Address | None = Field(
        None, description="Its virtual address; by default one in 240.0.0.0/4, derived from its name."
    )


class ExternalServiceDocument(Envelope):
    """Something outside the mesh that workloads call, as its callers see it.

    It shares its names with services: routes and policies refer to it as to a Service, and so do `uses` of workloads.
    """

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["ExternalService"]
    spec: ExternalServiceSpec

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        ports = ("spec", "ports")
        yield from port_problems(spec.ports)
        for place, port in enumerate(spec.ports):
            if port.protocol is Protocol.UDP:
                yield Problem(
                    (*ports, place, "protocol"),
                    "nothing sends udp outside the mesh",
                    "Declare a Service and a Workload with the address outside, and no sidecar",
                )
        yield from repeated(("spec", "hosts"), "", spec.hosts, "host")
        yield from repeated(("spec", "endpoints"), "", spec.endpoints, "endpoint")
        if spec.tls is not None:
            yield from spec.tls.problems()
        if spec.tls is not None and spec.tls.mode is TlsMode.MESH:
            yield from self._mesh_problems(spec)
        wild = [host for host in spec.hosts if host.startswith(WILDCARD)]
        if wild:
            yield from self._wildcard_problems(wild)
        elif spec.resolution is not Resolution.STATIC and not spec.endpoints and len(spec.hosts) > 1:
            yield Problem(
                ("spec", "hosts"),
                "each of several hosts would be resolved to addresses of its own",
                "Make an ExternalService for each host, or say by endpoints where all of them are",
            )
        if spec.resolution is Resolution.LOGICAL and len(spec.endpoints) > 1:
            yield Problem(
                ("spec", "endpoints"), "logicalDns resolves one name only", "Keep one, or use resolution: dns"
            )
        if spec.resolution is Resolution.STATIC and not wild:
            yield from self._static_problems()

    def _mesh_problems(self, spec: ExternalServiceSpec) -> Iterator[Problem]:
        for place, host in enumerate(spec.hosts):
            if host.startswith(WILDCARD):
                yield Problem(
                    ("spec", "hosts", place),
                    "a wildcard is no one service",
                    "Name the service of the other mesh",
                )
        for place, port in enumerate(spec.ports):
            if port.protocol is Protocol.TLS:
                yield Problem(
                    ("spec", "ports", place, "protocol"),
                    "an application's own TLS is passed on untouched, and is no mesh TLS",
                    "Use tcp",
                )

    def _static_problems(self) -> Iterator[Problem]:
        if not self.spec.endpoints:
            yield Problem(
                ("spec", "endpoints"), "endpoints are missing", "resolution: static connects to them"
            )
        for place, each in enumerate(self.spec.endpoints):
            if not is_address(each):
                yield Problem(
                    ("spec", "endpoints", place),
                    f"{each} is not an IP address",
                    "Use resolution: dns for names",
                )

    def _wildcard_problems(self, wild: list[str]) -> Iterator[Problem]:
        """Names behind a wildcard are told by the host of a request, and each is resolved by itself."""
        spec = self.spec
        if len(wild) < len(spec.hosts):
            yield Problem(
                ("spec", "hosts"),
                "wildcards and plain hosts are found in different ways",
                "Make an ExternalService of its own for each plain host",
            )
        if spec.resolution is not Resolution.DNS or spec.endpoints:
            yield Problem(
                ("spec", "endpoints" if spec.endpoints else "resolution"),
                "each name behind a wildcard is resolved by itself",
                "Remove endpoints, and use resolution: dns",
            )
        for place, port in enumerate(spec.ports):
            at = ("spec", "ports", place)
            if not port.protocol.is_http:
                yield Problem(
                    (*at, "protocol"),
                    f"a connection of {port.protocol} does not say which name behind the wildcard is meant",
                    "Use plain hosts, or http, http2 or grpc",
                )
            if port.target_port is not None:
                yield Problem(
                    (*at, "targetPort"),
                    "behind a wildcard the port outside is that of the request (of tls without a port: 443)",
                    "Remove it",
                )

    def value(self, origin: tuple[str, ...]) -> Service:
        spec = self.spec
        return Service(
            key=self.metadata.key,
            ports=port_values(spec.ports),
            address=spec.address,
            labels=labels(self.metadata.labels),
            external=External(
                tuple(spec.hosts),
                spec.resolution,
                tuple(spec.endpoints),
                spec.tls.value() if spec.tls is not None else None,
                tuple(
                    (port.port, port.target_port)
                    for port in spec.ports
                    if port.target_port not in {None, port.port}
                ),
            ),
            origin=origin,
        )


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: ExternalService
metadata: {name: payments}
spec:
  hosts: [api.payments.example]
  ports: [{name: http, port: 80, protocol: http, targetPort: 443}]
  resolution: dns
  tls: {mode: simple}
"""
