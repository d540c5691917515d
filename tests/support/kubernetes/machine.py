"""A machine beside a test cluster, as one that only Consul knows: a network namespace with a cable to the node, which passes its packets on
to pods and to this machine. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.kubernetes.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Machine:
    """`address` is what this machine and the pods of the cluster reach it at."""

    namespace: str
    address: str

    def command(self, *command: str) -> tuple[str, ...]:
        """`command` on that machine, as one process."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}", *command)

    def relay(self, port: int) -> tuple[str, ...]:
        """What takes connections to `port` of the machine's address to the same port of its loopback."""
        listen = f"TCP-LISTEN:{port},bind={self.address},reuseaddr,fork"
        return self.command("socat", listen, f"TCP:127.0.0.1:{port}")


@contextlib.contextmanager
def a_machine(cluster: Cluster) -> Iterator[Machine]:
    """One at a time for each cluster; gone with the block, as its cable and routes are."""
    network = f"172.30.254.{4 * cluster.number - 4}/30"
    gateway, address = (f"172.30.254.{4 * cluster.number - 4 + part}" for part in (1, 2))
    made = Machine(f"meshwright-{os.getpid()}-vm", address)
    cable = f"vm{os.getpid()}"
    _ip("netns", "add", made.namespace)
    try:
        _ip("-n", made.namespace, "link", "set", "lo", "up")
        _ip(
            *("-n", made.namespace, "link", "add", "eth0", "type", "veth"),
            *("peer", "name", cable, "netns", cluster.node_namespace),
        )
        for namespace, name, own in (
            (made.namespace, "eth0", address),
            (cluster.node_namespace, cable, gateway),
        ):
            _ip("-n", namespace, "address", "add", f"{own}/30", "dev", name)
            _ip("-n", namespace, "link", "set", name, "up")
        _ip("-n", made.namespace, "route", "add", "default", "via", gateway)
        _ip("route", "add", network, "via", cluster.node)
        try:
            yield made
        finally:
            _ip("route", "delete", network)
    finally:
        _ip("netns", "delete", made.namespace)  # and the cable with it


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True)
