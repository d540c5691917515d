"""The kind BackendTLSPolicy (https://gateway-api.sigs.k8s.io/reference/spec/#backendtlspolicy)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Name, Part, Problem, repeated
from documents.gateway_api.common import (
    CORE_GROUPS,
    OWN_GROUP,
    AuthorityReference,
    GatewayApiEnvelope,
    Hostname,
    PreciseHostname,
    SectionName,
    group_problem,
)
from documents.reading import Path
from mesh.gateways import BackendTlsPolicy, SubjectKind, SubjectName, TlsTarget
from mesh.names import Key
from mesh.routes import BackendKind

_URI = re.compile(r"[^:/?#]+:(?://[^/?#]*)?[^?#]*(?:\?[^#]*)?(?:#.*)?")


class TlsTargetSpec(Part):
    group: str = Field("", description='"" for a Service, meshwright.dev for an ExternalService.')
    kind: Literal["Service", "ExternalService"] = Field(default="Service", description="What is called.")
    name: Name = Field(description="Of the service.")
    section_name: SectionName | None = Field(None, description="A port by its name; by default all.")

    def problems(self, at: Path) -> Iterator[Problem]:
        groups = CORE_GROUPS if self.kind == "Service" else (OWN_GROUP,)
        if self.group not in groups:
            yield group_problem(at, self.kind, self.group, groups)

    def value(self, own: str) -> TlsTarget:
        return TlsTarget(BackendKind(self.kind), Key(own, self.name), self.section_name)


class SubjectNameSpec(Part):
    type: SubjectKind = Field(strict=False, description="Hostname or URI.")
    hostname: Hostname | None = Field(default=None, description="For type Hostname.")
    uri: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None, description="In full, as spiffe://example.com/ns/default/sa/api."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        wanted, other = ("hostname", "uri") if self.type is SubjectKind.HOSTNAME else ("uri", "hostname")
        given = {"hostname": self.hostname, "uri": self.uri}
        if given[wanted] is None:
            yield Problem((*at, wanted), f"{wanted} is missing", f"A name of type {self.type} needs it")
        if given[other] is not None:
            yield Problem(
                (*at, other), f"{other} does not go with type {self.type}", "Give each name an element"
            )
        if self.uri is not None and not _URI.fullmatch(self.uri):
            yield Problem((*at, "uri"), f"{self.uri!r} is not a whole URI", "Begin it with its scheme")

    def value(self) -> SubjectName:
        return SubjectName(self.type, self.hostname or self.uri or "")


class TlsValidationSpec(Part):
    ca_certificate_refs: Annotated[list[AuthorityReference], Field(max_length=8)] = Field(
        default=[], description="Whose certificates are accepted."
    )
    well_known_ca_certificates: Literal["System"] | None = Field(
        None,
        alias="wellKnownCACertificates",
        description="System: those that the system of the proxy trusts.",
    )
    hostname: PreciseHostname = Field(description="Sent as SNI; must be in the certificate.")
    subject_alt_names: Annotated[list[SubjectNameSpec], Field(max_length=5)] = Field(
        default=[], description="One of them must be in the certificate, instead of the hostname."
    )

    def problems(self, at: Path) -> Iterator[Problem]:
        for place, reference in enumerate(self.ca_certificate_refs):
            yield from reference.problems((*at, "caCertificateRefs", place))
        for place, name in enumerate(self.subject_alt_names):
            yield from name.problems((*at, "subjectAltNames", place))
        if bool(self.ca_certificate_refs) == (self.well_known_ca_certificates is not None):
            given = "both" if self.ca_certificate_refs else "neither of"
            yield Problem(
                at,
                f"{given} caCertificateRefs and wellKnownCACertificates {'are' if given == 'both' else 'is'} given",
                "Give exactly one of the two",
            )


class BackendTlsPolicySpec(Part):
    target_refs: Annotated[list[TlsTargetSpec], Field(min_length=1, max_length=16)] = Field(
        description="To whom TLS is spoken."
    )
    validation: TlsValidationSpec = Field(description="How the certificate of the backend is verified.")
    options: dict[str, str] = Field({}, description="None is known.")


class BackendTlsPolicyDocument(GatewayApiEnvelope):
    """TLS to a backend that is outside of the mesh, and how its certificate is verified."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha3"]
    kind: Literal["BackendTLSPolicy"]
    spec: BackendTlsPolicySpec

    def problems(self) -> Iterator[Problem]:
        targets = ("spec", "targetRefs")
        for place, target in enumerate(self.spec.target_refs):
            yield from target.problems((*targets, place))
        values = [target.value(self.metadata.namespace) for target in self.spec.target_refs]
        yield from repeated(
            targets,
            "",
            [f"{each.kind} {each.key}#{each.section or '(all)'}" for each in values],
            "target",
        )
        whole = {(each.kind, each.key) for each in values if each.section is None}
        for place, each in enumerate(values):
            if each.section is not None and (each.kind, each.key) in whole:
                yield Problem(
                    (*targets, place),
                    f"{each.kind} {each.key} is a target as a whole too",
                    "Give a sectionName to each, or to none",
                )
        yield from self.spec.validation.problems(("spec", "validation"))
        for name in self.spec.options:
            yield Problem(("spec", "options", name), f"option {name!r} is not known", "Remove it", told=True)

    def value(self, origin: tuple[str, ...]) -> BackendTlsPolicy:
        own, validation = self.metadata.namespace, self.spec.validation
        authorities = tuple(each.value(own) for each in validation.ca_certificate_refs)
        return BackendTlsPolicy(
            key=self.metadata.key,
            targets=tuple(each.value(own) for each in self.spec.target_refs),
            hostname=validation.hostname,
            authorities=authorities or None,
            names=tuple(each.value() for each in validation.subject_alt_names),
            created=self.metadata.creation_timestamp,
            origin=origin,
        )


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: legacy}
spec:
  targetRefs: [{group: "", kind: Service, name: legacy}]
  validation: {wellKnownCACertificates: System, hostname: legacy.example.com}
"""
