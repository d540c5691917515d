"""Who else serves this mesh: of proxies that are connected to another control plane, this one knows nothing but that they may be there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.names import Key
from mesh.state import MeshState


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """`own`: the Service of the control plane in its Kubernetes cluster, whose members are the replicas. `sharing`: how many share its store."""

    state: Callable[[], MeshState]
    own: Key | None
    sharing: Callable[[], int]

    def replicas(self) -> int:
        """At least this one."""
        in_cluster = 0 if self.own is None else len(self.state().members.get(self.own, ()))
        return max(1, in_cluster, self.sharing())

    def unseen(self) -> str:
        """What to say with every answer about proxies; empty where all of them are connected to this control plane. ASCII, for a header."""
        replicas = self.replicas()
        if replicas == 1:
            return ""
        return (
            f"this is one of {replicas} replicas, and knows only the proxies that are connected to it: others are connected to, and shown "
            "by, another replica"
        )
