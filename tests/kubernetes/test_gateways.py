"""Gateways on a real cluster: made, programmed, reached by their addresses, with certificates of Secrets; and taken away."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.installed import INJECTED
from tests.support.traffic.edge import PublicAuthority

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "shop.example.com"
MADE = "edge-meshwright"
SETTLED = 4.0
"""Seconds in which nothing may be written any more."""


def a_gateway(*listeners: dict[str, Any], name: str = "edge", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"gatewayClassName": "meshwright", "listeners": list(listeners), **spec},
    }


def a_route(name: str, service: str) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "rules": [{"backendRefs": [{"name": service, "port": 80}]}],
        },
    }


def a_secret(files: Path, authority: PublicAuthority) -> tuple[dict[str, Any], int]:
    """A Secret with a new certificate, and its serial number."""
    serial = authority.issue(files / "shop.pem", files / "shop.key", HOST)
    data = {"tls.crt": (files / "shop.pem").read_bytes(), "tls.key": (files / "shop.key").read_bytes()}
    made = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "shop"},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(each).decode() for name, each in data.items()},
    }
    return made, serial


HTTP = {"name": "http", "port": 80, "protocol": "HTTP"}
HTTPS = {
    "name": "https",
    "port": 443,
    "protocol": "HTTPS",
    "hostname": HOST,
    "tls": {"certificateRefs": [{"name": "shop"}]},
}


@dataclass(frozen=True, slots=True)
class Edge:
    """The Gateway `edge` in `namespace`, whose route leads to the Service `echo`; `address` is where it is reached from here."""

    cluster: Cluster
    namespace: str
    address: str
    authority: PublicAuthority
    files: Path

    async def status(self, name: str = "edge", kind: str = "gateway") -> dict[str, Any]:
        found = await self.cluster.get(kind, name, self.namespace)
        status: dict[str, Any] = found.get("status", {})
        return status

    async def condition(self, kind: str, listener: str = "", name: str = "edge") -> tuple[str, str]:
        """The status and the reason of a condition of the Gateway, or of one of its listeners."""
        status = await self.status(name)
        if listener:
            status = next(each for each in status["listeners"] if each["name"] == listener)
        found = next(each for each in status["conditions"] if each["type"] == kind)
        return found["status"], found["reason"]

    async def becomes(
        self, wanted: tuple[str, str], kind: str, listener: str = "", name: str = "edge"
    ) -> None:
        async def there() -> bool:
            try:
                return await self.condition(kind, listener, name) == wanted
            except (KeyError, StopIteration, KubectlError):
                return False

        await self.cluster.eventually(there, f"{kind} {wanted} of {name} {listener}")

    async def ask(self) -> tuple[int, dict[str, str]]:
        """The status of an answer, 0 if there is none, and the headers that the backend got."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://{self.address}/", headers={"host": HOST}) as answer,
            ):
                got = (await answer.json())["headers"] if answer.status == 200 else {}
                return answer.status, got
        except (aiohttp.ClientError, TimeoutError):
            return 0, {}

    async def get(self) -> int:
        status, _ = await self.ask()
        return status

    async def serial(self) -> int:
        """Of the certificate that is shown; 0 if none is."""
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(self.address, 443, ssl=self.authority.client(), server_hostname=HOST),
                5,
            )
        except (OSError, TimeoutError, ssl.SSLError):
            return 0
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(shown).serial_number


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    cluster = installed
    async with cluster.namespace("5-gateways", INJECTED) as namespace:
        await cluster.apply(
            objects.deployment("echo"),
            objects.service("echo"),
            a_gateway(HTTP, HTTPS),
            a_route("shop", "echo"),
            namespace=namespace,
        )
        found = Edge(cluster, namespace, "", PublicAuthority(), tmp_path_factory.mktemp("secrets"))
        await found.becomes(("True", "Programmed"), "Programmed")
        (address,) = (await found.status())["addresses"]
        assert address["type"] == "IPAddress"
        yield Edge(cluster, namespace, address["value"], found.authority, found.files)


async def test_a_gateway_is_made_and_reached_by_its_address(edge: Edge) -> None:
    async def served() -> bool:
        return await edge.get() == 200

    await edge.cluster.eventually(served, "an answer of the backend")
    # The backend has a sidecar: it is called by mutual TLS, as the gateway's own service account.
    _, headers = await edge.ask()
    assert f"URI=spiffe://mesh.local/ns/{edge.namespace}/sa/{MADE}" in headers["x-forwarded-client-cert"]
    (route,) = (await edge.status("shop", "httproute"))["parents"]
    assert route["parentRef"]["name"] == "edge"
    assert {each["type"]: each["status"] for each in route["conditions"]} == {
        "Accepted": "True",
        "ResolvedRefs": "True",
    }
    listeners = {each["name"]: each["attachedRoutes"] for each in (await edge.status())["listeners"]}
    assert listeners == {"http": 1, "https": 1}
    deployment = await edge.cluster.get("deployment", MADE, edge.namespace)
    assert deployment["metadata"]["ownerReferences"][0]["name"] == "edge"


async def test_a_certificate_is_served_renewed_and_taken_back_with_its_secret(edge: Edge) -> None:
    assert await edge.condition("ResolvedRefs", "https") == ("False", "InvalidCertificateRef")
    for _ in range(2):
        secret, serial = a_secret(edge.files, edge.authority)
        await edge.cluster.apply(secret, namespace=edge.namespace)

        async def shown(wanted: int = serial) -> bool:
            return await edge.serial() == wanted

        await edge.cluster.eventually(shown, "the certificate of the Secret")
    await edge.becomes(("True", "ResolvedRefs"), "ResolvedRefs", "https")
    await edge.becomes(("True", "Programmed"), "Programmed", "https")
    await edge.cluster.delete("secret", "shop", edge.namespace)
    await edge.becomes(("False", "InvalidCertificateRef"), "ResolvedRefs", "https")

    async def closed() -> bool:
        return await edge.serial() == 0

    await edge.cluster.eventually(closed, "the listener to be closed")
    assert await edge.get() == 200


async def test_what_somebody_takes_away_comes_back(edge: Edge) -> None:
    before = await edge.cluster.get("deployment", MADE, edge.namespace)
    await edge.cluster.delete("deployment", MADE, edge.namespace)

    async def back() -> bool:
        found = await edge.cluster.get("deployment", MADE, edge.namespace)
        return bool(found["metadata"]["uid"] != before["metadata"]["uid"])

    await edge.cluster.eventually(back, "the Deployment to be made again")
    await edge.becomes(("True", "Programmed"), "Programmed")

    async def served() -> bool:
        return await edge.get() == 200

    await edge.cluster.eventually(served, "an answer by the new proxy")


async def test_replicas_are_an_autoscalers_and_settled_statuses_are_not_written(edge: Edge) -> None:
    await edge.cluster.run("--namespace", edge.namespace, "scale", f"deployment/{MADE}", "--replicas=2")
    await edge.cluster.ready(edge.namespace, f"deploy/{MADE}")
    await edge.becomes(("True", "Programmed"), "Programmed")
    kinds = (("gateway", "edge"), ("httproute", "shop"), ("service", MADE), ("deployment", MADE))

    async def versions() -> list[str]:
        found = [await edge.cluster.get(kind, name, edge.namespace) for kind, name in kinds]
        return [each["metadata"]["resourceVersion"] for each in found]

    async def settled() -> bool:
        before = await versions()
        await asyncio.sleep(SETTLED)
        return await versions() == before

    await edge.cluster.eventually(settled, "nothing to be written any more")
    deployment = await edge.cluster.get("deployment", MADE, edge.namespace)
    assert deployment["spec"]["replicas"] == 2


async def test_parameters_are_read_and_wrong_ones_are_told(edge: Edge) -> None:
    cluster, namespace = edge.cluster, edge.namespace
    reference = {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "edge-parameters"}}
    parameters: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "edge-parameters"},
        "data": {"replicas": "many"},
    }
    await cluster.apply(
        parameters, a_gateway(HTTP, name="told", infrastructure=reference), namespace=namespace
    )
    await edge.becomes(("False", "InvalidParameters"), "Accepted", name="told")
    parameters["data"] = {"replicas": "0", "serviceType": "NodePort"}
    await cluster.apply(parameters, namespace=namespace)
    await edge.becomes(("True", "Accepted"), "Accepted", name="told")

    async def made() -> bool:
        service = await cluster.get("service", "told-meshwright", namespace)
        deployment = await cluster.get("deployment", "told-meshwright", namespace)
        return bool(service["spec"]["type"] == "NodePort" and deployment["spec"]["replicas"] == 0)

    await cluster.eventually(made, "what the parameters say")
    # Nobody plays it: it is reached by nobody.
    await edge.becomes(("False", "Pending"), "Programmed", name="told")
    await cluster.delete("gateway", "told", namespace)

    async def gone() -> bool:
        kinds = ("deployment", "service", "serviceaccount", "poddisruptionbudget")
        left = [each for kind in kinds for each in await cluster.objects(kind, namespace)]
        return not any(each["metadata"]["name"] == "told-meshwright" for each in left)

    await cluster.eventually(gone, "nothing to be left of it")
