"""The kind Service: what callers name, and the ports on which it speaks."""

from __future__ import annotations

import ipaddress
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from documents.envelope import Envelope, Part, Port, PortName, Problem, repeated, wrong
from mesh.identity import SEGMENT
from mesh.service import Protocol, Service, ServicePort, labels


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise wrong(f"{text!r} is not an IP address", "Use an IPv4 or IPv6 address, not a name") from error


def _account(text: str) -> str:
    if not SEGMENT.fullmatch(text) or text in {".", ".."}:
        raise wrong(
            f"service account {text!r} cannot be part of a SPIFFE id", "Use letters, digits, '.', '-' and '_'"
        )
    return text


Address = Annotated[str, AfterValidator(_address)]
ServiceAccount = Annotated[str, AfterValidator(_account)]


class CalledPort(typing.Protocol):
    """A port that callers name, as its document says it."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> Protocol: ...


def port_problems(ports: Sequence[CalledPort]) -> Iterator[Problem]:
    """What is wrong with the ports of one service, taken together."""
    at = ("spec", "ports")
    yield from repeated(at, "name", [port.name for port in ports], "name")
    yield from repeated(at, "port", [port.port for port in ports], "port")


def port_values(ports: Iterable[CalledPort]) -> tuple[ServicePort, ...]:
    return tuple(ServicePort(port.name, port.port, port.protocol) for port in ports)


class ServicePortSpec(Part):
    name: PortName = Field(description="Pairs this port with the workloads' port of the same name.")
    port: Port = Field(description="The number that callers use.")
    protocol: Protocol = Field(
        Protocol.TCP, strict=False, description="What is spoken here. Never guessed: undeclared means tcp."
    )


class ServiceSpec(Part):
    ports: list[ServicePortSpec] = Field(
        min_length=1, description="Where it is called, and what is spoken there."
    )
    address: Address | None = Field(
        None, description="Its virtual address; by default one in 240.0.0.0/4, derived from its name."
    )
    service_accounts: list[ServiceAccount] = Field(
        [], description="Who may serve it; by default the accounts of its workloads."
    )
    headless: bool = Field(
        False,
        description="Callers whose traffic is intercepted also reach its workloads by mutual TLS at their own addresses, and each call goes to "
        "the very one that was called, as by a headless Service of Kubernetes.",
    )


class ServiceDocument(Envelope):
    """A service, as its owner declares it."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["Service"]
    spec: ServiceSpec

    def problems(self) -> Iterator[Problem]:
        yield from port_problems(self.spec.ports)
        yield from repeated(("spec", "serviceAccounts"), "", self.spec.service_accounts, "service account")

    def value(self, origin: tuple[str, ...]) -> Service:
        spec = self.spec
        return Service(
            key=self.metadata.key,
            ports=port_values(spec.ports),
            address=spec.address,
            service_accounts=tuple(sorted(spec.service_accounts)),
            labels=labels(self.metadata.labels),
            headless=spec.headless,
            origin=origin,
        )


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: Service
metadata: {name: orders, labels: {team: sales}}
spec:
  ports:
  - {name: http, port: 80, protocol: http}
  - {name: metrics, port: 9090, protocol: http}
"""
