"""How much less a proxy is given because it gets only what it may need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mesh.names import Key
from meshwright.scopes import Outbound, Scope
from xds.resource import Name, Resource
from xds.types import CLUSTER, ENDPOINT

CLUSTER_MEMORY = 57_000
"""Bytes of memory that Envoy 1.40 needs for one EDS cluster, about: measured at 100, 1,000 and 5,000 clusters."""

ByService = Mapping[Key, Mapping[Name, Resource]]


@dataclass(frozen=True, slots=True)
class ScopeSize:
    """What a proxy sees of `everything`: services, encoded bytes, and Envoy's memory for clusters (bytes, about).

    `clusters` of `of_clusters`, those that it may have: how many it has, where they come on demand.
    """

    services: int
    of_services: int
    size: int
    of_size: int
    memory: int
    of_memory: int
    clusters: int = 0
    of_clusters: int = 0


def scope_sizes(scopes: Mapping[Scope, ByService], services: int) -> dict[Scope, ScopeSize]:
    """For each scope of callers. What everything would be is that of a scope that has it, else reckoned from what is there."""
    measured = {
        scope: _measure(contents) for scope, contents in scopes.items() if isinstance(scope, Outbound)
    }
    known: dict[Key, tuple[int, int]] = {}
    for of_service in measured.values():
        known.update(of_service)
    if not known:
        return {}
    size, clusters = (sum(each[place] for each in known.values()) for place in (0, 1))
    whole, all_clusters = size * services // len(known), clusters * services // len(known)
    return {
        scope: ScopeSize(
            services=len(of_service),
            of_services=services,
            size=sum(each[0] for each in of_service.values()),
            of_size=whole,
            memory=CLUSTER_MEMORY * sum(each[1] for each in of_service.values()),
            of_memory=CLUSTER_MEMORY * all_clusters,
        )
        for scope, of_service in measured.items()
    }


@dataclass(frozen=True, slots=True)
class Asides:
    """The clusters of a scope that are given on request: the bytes of each, with its endpoints."""

    by_name: Mapping[str, int]
    size: int

    @classmethod
    def of(cls, contents: ByService) -> Asides:
        by_name = {
            each.name: len(each.delta) + _of_endpoints(of, each)
            for of in contents.values()
            for each in of.values()
            if each.on_request
        }
        return cls(by_name, sum(by_name.values()))

    def less(self, size: ScopeSize, held: Iterable[str]) -> ScopeSize:
        """`size` of a proxy that has, of these clusters, those of the names `held` alone. The work is that of the names."""
        have = self.by_name.keys() & held
        absent = len(self.by_name) - len(have)
        clusters = size.memory // CLUSTER_MEMORY
        return replace(
            size,
            size=size.size - self.size + sum(self.by_name[name] for name in have),
            memory=size.memory - CLUSTER_MEMORY * absent,
            clusters=clusters - absent,
            of_clusters=clusters,
        )


def _of_endpoints(of_service: Mapping[Name, Resource], cluster: Resource) -> int:
    found = of_service.get((ENDPOINT, cluster.endpoints))
    return len(found.delta) if found is not None else 0


def _measure(contents: ByService) -> dict[Key, tuple[int, int]]:
    """Bytes and clusters of each service."""
    return {
        key: (_bytes(of.values()), sum(kind == CLUSTER for kind, _ in of)) for key, of in contents.items()
    }


def _bytes(resources: Iterable[Resource]) -> int:
    return sum(len(each.delta) for each in resources)
