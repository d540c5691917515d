"""What tests know of Meshwright on the test cluster."""

from __future__ import annotations

from typing import Final

from tests.support.kubernetes.cluster import Cluster

SYSTEM: Final = "meshwright-system"
INJECTED: Final = {"meshwright.dev/inject": "enabled"}
DATA: Final = "/var/lib/meshwright/data"


async def meshwright(cluster: Cluster, *arguments: str) -> str:
    """The output of `meshwright ARGUMENTS` in a pod of the control plane."""
    return await cluster.exec(SYSTEM, "deploy/meshwright", "meshwright", *arguments, "--data-dir", DATA)
