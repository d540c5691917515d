"""Which objects of an API server hold documents: the kinds of ours that exist as custom resources, and those of the Gateway API. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from documents.envelope import API_VERSION, Kind
from documents.gateway_api.common import GROUP, OWN_GROUP
from documents.kinds import SECRET
from kube.resource import Resource
from policies.registry import KINDS

NOT_IN_CLUSTERS: Final = frozenset({SECRET.name})
"""Kinds of ours that are no custom resources. A Secret of ours names files of the control plane's own host, which those who may write objects
in a namespace have no business with: in a cluster, certificates are in Secrets of the core group.
"""
GATEWAY_CLASS: Final = "GatewayClass"
CONTROLLER: Final = "meshwright.dev/gateway-controller"
"""`spec.controllerName` of the GatewayClasses whose Gateways are ours."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A kind that is watched. `versions`: those that can be read, the best first; the first that the server has is asked for."""

    kind: str
    group: str
    plural: str
    versions: tuple[str, ...]
    namespaced: bool = True

    def at(self, version: str) -> Resource:
        return Resource(self.group, version, self.plural, self.kind, self.namespaced)


_NO_PLURAL: Final = frozenset({"Metrics", "MeshTLS"})


def plural(kind: str) -> str:
    """As in paths and RBAC rules: `retrypolicies`."""
    word = kind.lower()
    if kind in _NO_PLURAL:
        return word
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def own_kinds(kinds: tuple[Kind, ...] = KINDS) -> Iterator[Kind]:
    """Those of ours that are custom resources."""
    return (each for each in kinds if each.api_version == API_VERSION and each.name not in NOT_IN_CLUSTERS)


def watched(kinds: tuple[Kind, ...] = KINDS) -> tuple[Watched, ...]:
    """All kinds that are watched: ours, then the Gateway API's, with GatewayClass, which is no document."""
    own = tuple(
        Watched(each.name, OWN_GROUP, plural(each.name), (API_VERSION.partition("/")[2],))
        for each in own_kinds(kinds)
    )
    versions: dict[str, list[str]] = {}
    for each in kinds:
        group, _, version = each.api_version.partition("/")
        if group == GROUP:
            versions.setdefault(each.name, []).append(version)
    gateway_api = (Watched(name, GROUP, plural(name), tuple(found)) for name, found in versions.items())
    return (
        *own,
        *gateway_api,
        Watched(GATEWAY_CLASS, GROUP, plural(GATEWAY_CLASS), ("v1", "v1beta1"), False),
    )
