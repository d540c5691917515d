"""What the Envoys of pods say themselves: asked in their containers, for nobody else reaches their admin interface."""

from __future__ import annotations

from typing import Final

from inject.names import ADMIN_SOCKET, PROXY
from tests.support.kubernetes.cluster import Cluster

PROGRAM: Final = """
import http.client, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", sys.argv[2])
print(connection.getresponse().read().decode())
"""


async def of_envoy(cluster: Cluster, namespace: str, pod: str, path: str) -> str:
    """What the Envoy of `pod` answers to `path`."""
    command = ("python3", "-c", PROGRAM, ADMIN_SOCKET, path)
    return await cluster.exec(namespace, pod, *command, container=PROXY)
