"""The kind ServiceSubset: a backend for routes, a service narrowed by the labels of its workloads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from documents.envelope import Envelope, Part, Problem, ServiceName
from mesh.names import Key
from mesh.routes import Subset
from mesh.service import labels


class SubsetSpec(Part):
    service: ServiceName = Field(description="Of the same namespace.")
    labels: Annotated[dict[str, str], Field(min_length=1)] = Field(
        description="What a workload must have, all of it, to belong to this."
    )


class SubsetDocument(Envelope):
    """A part of a service, which routes can send to: those of its workloads that have some labels."""

    api_version: Literal["meshwright.dev/v1alpha1"]
    kind: Literal["ServiceSubset"]
    spec: SubsetSpec

    def problems(self) -> Iterator[Problem]:
        for name in self.spec.labels:
            if not name:
                yield Problem(("spec", "labels"), "a label has no name", "Give it one, or remove it")

    def value(self, origin: tuple[str, ...]) -> Subset:
        key = self.metadata.key
        return Subset(key, Key(key.namespace, self.spec.service), labels(self.spec.labels), origin)


EXAMPLE: Final = """\
apiVersion: meshwright.dev/v1alpha1
kind: ServiceSubset
metadata: {name: api-v2}
spec: {service: api, labels: {version: v2}}
"""
