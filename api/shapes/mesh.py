"""The mesh as it is now, in parts of `status`."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from api.shapes.documents import Label
from api.shapes.shape import Query, Shape
from api.shapes.status import HoldStatus, ProxyStatus, ServiceListing, SourceState, WorkloadListing


class NamespaceQuery(Query):
    namespace: Label | None = None


class Services(Shape):
    items: tuple[ServiceListing, ...]


class Workloads(Shape):
    items: tuple[WorkloadListing, ...]


class Proxies(Shape):
    items: tuple[ProxyStatus, ...]


class Sources(Shape):
    """Where services come from, and the removals that are held back because they are not believable."""

    items: tuple[SourceState, ...]
    holds: tuple[HoldStatus, ...]


class Certificate(Shape):
    """`kind`: root, intermediate, control plane, workload or gateway; of the last two, the one that ends first."""

    kind: str
    not_after: datetime


class Certificates(Shape):
    items: tuple[Certificate, ...]


class Released(Shape):
    """How many holds were ended."""

    released: int = Field(ge=1)


class ConfigDump(Shape):
    """All that a proxy is given, with versions and provenance; secrets are left out."""

    proxy: str
    resources: tuple[dict[str, object], ...]
