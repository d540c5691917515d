"""`spec.interception` of a workload: what its sidecar listens on where `meshwright intercept` sends its traffic there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from documents.envelope import Part, Port, Problem, wrong
from documents.reading import Path
from mesh.interception import DNS_PORT, INBOUND_PORT, Interception, PlainCheck


def _path(text: str) -> str:
    if not text.startswith("/") or any(each in text for each in "?# "):
        raise wrong(f"{text!r} is not the path of a URL", "Begin it with '/', without a query")
    return text


class HealthCheckSpec(Part):
    """A health check by somebody who speaks no mesh TLS: a registry, an orchestrator, a load balancer."""

    port: Port = Field(description="The application's port that is checked.")
    path: Annotated[str, AfterValidator(_path)] | None = Field(
        None,
        description="What is asked there, exactly; a gRPC health check asks /grpc.health.v1.Health/Check. Left out: all of the port "
        "is open to everybody, in plaintext.",
    )


class InterceptionSpec(Part):
    """What `meshwright intercept` is told, too, where it differs from the defaults."""

    inbound_port: Port = Field(INBOUND_PORT, description="Where connections to the workload are sent.")
    dns_port: Port = Field(DNS_PORT, description="Where queries for names are sent.")
    ipv6: bool = Field(default=True, description="Whether the kernel of the host has IPv6.")
    health_checks: list[HealthCheckSpec] = Field(
        [], description="What is let in without mesh TLS; all else has to have it."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        whole = {check.port for check in self.health_checks if check.path is None}
        seen: set[tuple[int, str | None]] = set()
        for place, check in enumerate(self.health_checks):
            path = (*at, "healthChecks", place)
            if check.port in {self.inbound_port, self.dns_port}:
                yield Problem(
                    (*path, "port"), f"port {check.port} is the sidecar's own", "Name the application's port"
                )
            if (check.port, check.path) in seen:
                yield Problem(path, "the same check is declared above", "Remove one")
            elif check.path is not None and check.port in whole:
                yield Problem(
                    (*path, "path"),
                    f"all of port {check.port} is open already",
                    "Remove the check without a path, or this one",
                )
            seen.add((check.port, check.path))

    def listeners(self) -> Iterator[tuple[Path, int]]:
        """The ports that the sidecar listens on for this."""
        yield ("spec", "interception", "inboundPort"), self.inbound_port
        yield ("spec", "interception", "dnsPort"), self.dns_port

    def value(self) -> Interception:
        checks = (PlainCheck(check.port, check.path) for check in self.health_checks)
        return Interception(
            inbound_port=self.inbound_port,
            dns_port=self.dns_port,
            ipv6=self.ipv6,
            # None, all of a port, goes before its paths.
            checks=tuple(sorted(checks, key=lambda each: (each.port, each.path or ""))),
        )
