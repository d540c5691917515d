"""The kind ReferenceGrant (https://gateway-api.sigs.k8s.io/reference/spec/#referencegrant)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Namespace, Part, Problem
from documents.gateway_api.common import (
    CORE_GROUPS,
    GROUP,
    OWN_GROUP,
    GatewayApiEnvelope,
    ObjectName,
    group_problem,
)
from mesh.gateways import GrantFrom, GrantTo, ReferenceGrant


class GrantFromSpec(Part):
    group: str = Field(description=f"{GROUP}, of which all that may refer are.")
    kind: Literal["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute", "Gateway", "ListenerSet"] = (
        Field(description="What may refer.")
    )
    namespace: Namespace = Field(description="Where that is.")


class GrantToSpec(Part):
    group: str = Field(description='"" for a Service and for what holds certificates.')
    kind: Literal["Service", "ServiceSubset", "ExternalService", "Secret", "ConfigMap"] = Field(
        description="What may be referred to."
    )
    name: ObjectName | None = Field(None, description="By default all of that kind.")


class ReferenceGrantSpec(Part):
    sources: Annotated[list[GrantFromSpec], Field(min_length=1, max_length=16)] = Field(
        alias="from", description="Who may refer."
    )
    targets: Annotated[list[GrantToSpec], Field(min_length=1, max_length=16)] = Field(
        alias="to", description="To what in this document's namespace."
    )


class ReferenceGrantDocument(GatewayApiEnvelope):
    """Lets documents of other namespaces refer to what is in this one's."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["ReferenceGrant"]
    spec: ReferenceGrantSpec

    def problems(self) -> Iterator[Problem]:
        for place, source in enumerate(self.spec.sources):
            if source.group != GROUP:
                yield group_problem(("spec", "from", place), source.kind, source.group, (GROUP,))
        for place, target in enumerate(self.spec.targets):
            groups = (OWN_GROUP,) if target.kind in {"ServiceSubset", "ExternalService"} else CORE_GROUPS
            if target.group not in groups:
                yield group_problem(("spec", "to", place), target.kind, target.group, groups)

    def value(self, origin: tuple[str, ...]) -> ReferenceGrant:
        return ReferenceGrant(
            key=self.metadata.key,
            sources=tuple(GrantFrom(each.kind, each.namespace) for each in self.spec.sources),
            targets=tuple(GrantTo(each.kind, each.name) for each in self.spec.targets),
            origin=origin,
        )


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: routes-of-the-shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service, name: api}]
"""
