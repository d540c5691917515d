"""What share of connections or datagrams each backend of a route takes."""

from __future__ import annotations

from collections.abc import Sequence

from envoy import names
from mesh.rules import BackendView

Share = tuple[str, int]
"""A cluster, and its weight, which is 1 or more."""


def by_weight(backends: Sequence[BackendView]) -> tuple[Share, ...]:
    """Never none. The share of a backend that is not there is refused
    (https://gateway-api.sigs.k8s.io/reference/spec/#backendref): no cluster is called NOWHERE.
    """
    found: dict[str, int] = {}
    for each in backends:
        if each.weight > 0:
            cluster = names.NOWHERE if each.problem else names.cluster(each.service, each.port, each.subset)
            found[cluster] = found.get(cluster, 0) + each.weight
    return tuple(found.items()) or ((names.NOWHERE, 1),)
