"""The kind ListenerSet (https://gateway-api.sigs.k8s.io/reference/spec/#listenerset, GEP-1713)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Namespace, Part, Problem
from documents.gateway_api.common import GROUP, GatewayApiEnvelope, ObjectName, group_problem
from documents.gateway_api.gateway import ListenerSpec, listener_problems, served
from documents.gateway_api.refused_listeners import refused
from documents.reading import Path
from mesh.gateways import ListenerSet
from mesh.names import Key


class ParentGatewayReference(Part):
    group: str = Field(GROUP, description="That of a Gateway.")
    kind: Literal["Gateway"] = Field("Gateway", description="The only kind that can be.")
    namespace: Namespace | None = Field(
        None, description="By default its own. Another's Gateway must allow it by `allowedListeners`."
    )
    name: ObjectName = Field(description="Of the Gateway.")

    def problems(self, at: Path) -> Iterator[Problem]:
        if self.group != GROUP:
            yield group_problem(at, self.kind, self.group, (GROUP,))


class ListenerSetSpec(Part):
    parent_ref: ParentGatewayReference = Field(description="The Gateway that is to have these listeners.")
    listeners: Annotated[list[ListenerSpec], Field(min_length=1, max_length=64)] = Field(
        description="What it is to listen on besides its own."
    )


class ListenerSetDocument(GatewayApiEnvelope):
    """More listeners for a Gateway, with certificates and routes of their own."""

    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["ListenerSet"]
    spec: ListenerSetSpec

    def problems(self) -> Iterator[Problem]:
        yield from self.spec.parent_ref.problems(("spec", "parentRef"))
        yield from listener_problems(("spec", "listeners"), self.spec.listeners)

    def value(self, origin: tuple[str, ...]) -> ListenerSet:
        key, parent, listeners = self.metadata.key, self.spec.parent_ref, self.spec.listeners
        out = refused(listeners, ranked=True)
        return ListenerSet(
            key=key,
            parent=Key(parent.namespace or key.namespace, parent.name),
            listeners=tuple(replace(each, set=key) for each in served(listeners, out, key.namespace)),
            refused=out,
            created=self.metadata.creation_timestamp,
            origin=origin,
        )


EXAMPLE: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: shop}
spec:
  parentRef: {name: edge}
  listeners:
  - {name: http, port: 8080, protocol: HTTP, hostname: shop.example.com}
"""
