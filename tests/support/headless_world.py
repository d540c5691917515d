"""A headless service whose instances are called by their own addresses: `web` on host a, and on host b `db`, at several addresses.

Host b has one sidecar, which is db-0's; it takes mesh TLS for all addresses of its host, so that the others' identity is db-0's, too.
That is what an impostor is made of: an instance of which the registry says another service account than it can prove.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.intercepted import GREETER, WEB, Mesh, program
from tests.support.intercepted_world import HTTP, RAW, a_service, a_workload, intercept, together
from tests.support.mesh import a_document
from tests.support.namespaces import Host, two_hosts

SECOND, IMPOSTOR, PLAIN = "10.77.0.12", "10.77.0.22", "10.77.0.32"
"""Of db-1, db-2 and db-3; db-0 is at the host's own."""

STRANGER = 8081
"""The port of db-3, which has no sidecar: not intercepted."""


def an_instance(name: str, address: str, account: str = "db", **said: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "services": ["db"],
        "serviceAccount": account,
        "address": address,
        "ports": [{"name": "http", "app": 8080}, {"name": "raw", "app": 9000}],
        "meshed": True,
        "interception": {},
    }
    return a_document("Workload", name, spec | said)


@dataclass(frozen=True, slots=True)
class Headless:
    mesh: Mesh

    @property
    def first(self) -> str:
        return self.mesh.b.ipv4

    def instances(self, *names: str) -> None:
        """Let these be what the registry knows of db."""
        known = {
            "db-0": an_instance("db-0", self.first),
            "db-1": an_instance("db-1", SECOND),
            "db-2": an_instance("db-2", IMPOSTOR, "other"),
            "db-3": an_instance(
                "db-3", PLAIN, ports=[{"name": "http", "app": STRANGER}], meshed=False, interception=None
            ),
        }
        self.mesh.write("instances.yaml", *(_said(known[name]) for name in names))


def _said(document: Mapping[str, Any]) -> dict[str, Any]:
    spec = {name: value for name, value in document["spec"].items() if value is not None}
    return {**document, "spec": spec}


@contextlib.asynccontextmanager
async def headless_mesh(folder: Path) -> AsyncIterator[Headless]:
    """With db-0 to db-3."""
    with two_hosts() as (a, b):
        for address in (SECOND, IMPOSTOR, PLAIN):
            subprocess.run(
                ("ip", "-n", b.namespace, "address", "add", f"{address}/24", "dev", "eth0"), check=True
            )
        mesh = Mesh(folder, a, b)
        made = Headless(mesh)
        mesh.write("mesh.yaml", a_service("web", HTTP), a_workload("web-1", a, {"http": 8080}))
        mesh.write("db.yaml", a_service("db", HTTP, RAW, headless=True))
        made.instances("db-0", "db-1", "db-2", "db-3")
        sidecars = mesh.sidecar(a, "web-1", "web"), mesh.sidecar(b, "db-0", "db")
        async with together(mesh.serving(), *_applications(folder, a, b)), together(*sidecars):
            await intercept(mesh)
            yield made


def _applications(folder: Path, a: Host, b: Host) -> list[contextlib.AbstractAsyncContextManager[None]]:
    made: list[contextlib.AbstractAsyncContextManager[None]] = [program(folder, "web", a, WEB, 8080)]
    for name, address in (("db-0", b.ipv4), ("db-1", SECOND), ("db-2", IMPOSTOR)):
        at = replace(b, ipv4=address)
        made.append(program(folder, f"{name}-web", at, WEB, 8080))
        made.append(program(folder, f"{name}-greeter", at, GREETER, 9000))
    made.append(program(folder, "db-3-web", replace(b, ipv4=PLAIN), WEB, STRANGER))
    return made
