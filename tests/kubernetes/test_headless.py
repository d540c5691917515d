"""A StatefulSet under strict mutual TLS on a real cluster: its pods are called by the names and the addresses that the cluster's DNS gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.mesh import Mesh, a_mesh
from tests.support.processes import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

GREETER = """
import os, socket, socketserver
class Greet(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"hello from {socket.gethostname()}\\n".encode())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server(("", 9000), Greet).serve_forever()
"""
"""TCP of which nobody says what it is, and the server speaks first: as databases do."""

GREETED = (
    "import socket, sys; print(socket.create_connection((sys.argv[1], 9000), 10).recv(100).decode(), end='')"
)


def a_stateful_set(replicas: int) -> dict[str, Any]:
    made = objects.deployment(
        "db",
        objects.echo(),
        objects.container("greeter", ("python3", "-u", "-c", GREETER)),
        replicas=replicas,
        account="db",
        terminationGracePeriodSeconds=1,
    )
    made["kind"] = "StatefulSet"
    made["spec"] |= {"serviceName": "db", "podManagementPolicy": "Parallel"}
    return made


def a_headless_service() -> dict[str, Any]:
    made = objects.service("db", 8080, clusterIP="None")
    made["spec"]["ports"].append({"name": "greeter", "port": 9000})
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(installed: Cluster) -> AsyncIterator[Mesh]:
    async with a_mesh(installed, "8-headless") as made:
        await made.cluster.apply(
            objects.service_account("db"), a_headless_service(), a_stateful_set(2), namespace=made.namespace
        )
        await made.cluster.ready(made.namespace, "statefulset/db", patience=240)

        async def called() -> bool:
            return all([await made.status(f"http://db-{each}.db:8080/") == 200 for each in range(2)])

        await eventually(called, "web's sidecar has heard of both pods", patience=60)
        yield made


async def test_each_pod_is_called_by_mutual_tls_by_its_name_and_by_its_address(mesh: Mesh) -> None:
    addresses = (
        await mesh.cluster.run(
            *("-n", mesh.namespace, "get", "pods", "db-0", "db-1"),
            *("-o", "jsonpath={.items[*].status.podIP}"),
        )
    ).split()
    for number, address in enumerate(addresses):
        for host in (f"db-{number}.db", f"db-{number}.db.{mesh.namespace}.svc.cluster.local", address):
            said = await mesh.get(f"http://{host}:8080/")
            assert said["pod"] == f"db-{number}"
            certificate = said["headers"]["x-forwarded-client-cert"]
            assert f"URI=spiffe://mesh.local/ns/{mesh.namespace}/sa/web" in certificate
            assert f"By=spiffe://mesh.local/ns/{mesh.namespace}/sa/db" in certificate
        # The port is strict, still.
        assert await mesh.stranger(f"http://{address}:8080/") == 0
    said = await mesh.get("http://db:8080/")
    assert "/sa/web" in said["headers"]["x-forwarded-client-cert"]


async def test_tcp_of_which_nobody_says_what_it_is_goes_the_same_way(mesh: Mesh) -> None:
    for number in range(2):
        said = await mesh.cluster.exec(
            *(mesh.namespace, "deploy/web", "python3", "-c", GREETED, f"db-{number}.db"), container="app"
        )
        assert said.strip() == f"hello from db-{number}"


async def test_pods_call_each_other_and_themselves(mesh: Mesh) -> None:
    """As the members of a database do."""
    for caller in range(2):
        for called in range(2):
            said = await mesh.cluster.exec(
                *(mesh.namespace, f"db-{caller}", "python3", "-c", GREETED, f"db-{called}.db"),
                container="greeter",
            )
            assert said.strip() == f"hello from db-{called}"


async def test_a_pod_that_is_made_anew_is_called_at_its_new_address(mesh: Mesh) -> None:
    await mesh.cluster.run("-n", mesh.namespace, "delete", "pod", "db-1", "--wait=true")
    await mesh.cluster.ready(mesh.namespace, "statefulset/db", patience=240)

    async def called() -> bool:
        return await mesh.status("http://db-1.db:8080/") == 200

    await eventually(called, "db-1 is called again", patience=60)
    assert (await mesh.get("http://db-0.db:8080/"))["pod"] == "db-0"
