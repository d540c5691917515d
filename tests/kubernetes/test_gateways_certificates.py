"""Certificates of a real cluster's Secrets: those that are named, as long as they are named, whatever becomes of the API server."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from documents.parsing import parse
from kube.access import ClusterOptions
from kube.client import Cluster as Client
from mesh.events import SourceSnapshot
from mesh.names import Key
from mesh.state import MeshState
from meshwright.certificates import Certificates
from meshwright.kubernetes.certificates import ClusterCertificates
from policies.registry import KINDS
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.line import a_line, kubeconfig
from tests.support.mesh import Mesh, a_document
from tests.support.processes import eventually
from tests.support.traffic.edge import PublicAuthority


def a_gateway(namespace: str, *secrets: str) -> str:
    """Its listeners `l0`, `l1`, … name these Secrets."""
    listed = ", ".join(
        f"{{name: l{n}, port: {1000 + n}, protocol: HTTPS, tls: {{certificateRefs: [{{name: {each}}}]}}}}"
        for n, each in enumerate(secrets)
    )
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
        f"metadata: {{name: edge, namespace: {namespace}}}\n"
        f"spec: {{gatewayClassName: meshwright, listeners: [{listed}]}}\n"
    )


def naming(namespace: str, *secrets: str) -> MeshState:
    """A mesh with that Gateway."""
    parsed = parse("edge.yaml", a_gateway(namespace, *secrets).encode(), KINDS)
    assert not parsed.errors
    return MeshState("mesh.local").apply(SourceSnapshot("file", declared=tuple(parsed.declared())))[0]


def a_secret(name: str, files: Path) -> dict[str, Any]:
    PublicAuthority().issue(files / "a.pem", files / "a.key", "a.example.com")
    data = {"tls.crt": (files / "a.pem").read_bytes(), "tls.key": (files / "a.key").read_bytes()}
    encoded = {part: base64.b64encode(each).decode() for part, each in data.items()}
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "data": encoded,
    }


async def test_what_is_named_is_read_and_holds_while_the_server_is_away(
    cluster: Cluster, tmp_path: Path
) -> None:
    told: list[frozenset[Key]] = []
    async with (
        cluster.namespace("5-certificates") as namespace,
        a_line(cluster) as line,
        Client(
            ClusterOptions(kubeconfig=str(await kubeconfig(cluster, line, tmp_path / "kubeconfig"))),
            clock=time.monotonic,
        ) as client,
    ):
        await cluster.apply(a_secret("a", tmp_path), a_secret("b", tmp_path), namespace=namespace)
        a, b = Key(namespace, "a"), Key(namespace, "b")
        certificates = Certificates(None, tmp_path / "data", lambda: datetime.now(UTC))
        followed = ClusterCertificates(
            client, certificates, told.append, clock=time.monotonic, random=random.random
        )
        task = asyncio.create_task(followed.run())
        try:
            # The first look waits until all is read: a gateway has its certificates from the first answer on.
            await certificates.look(naming(namespace, "a"), told.append)
            assert certificates.loaded.certificates == {a}
            assert certificates.problem(a) == ""
            await certificates.look(naming(namespace, "a", "b"), told.append)

            async def both() -> bool:
                return certificates.loaded.certificates == {a, b}

            await eventually(both, "the second one to be read", patience=60)
            before, taken = certificates.resources([a], []), line.taken
            line.cut()

            async def tried() -> bool:
                return line.taken > taken + 2

            await eventually(tried, "the server to be asked in vain", patience=60)
            assert (certificates.resources([a], []), certificates.problem(a)) == (before, "")
            await cluster.apply(a_secret("a", tmp_path), namespace=namespace)
            line.mend()

            async def renewed() -> bool:
                return certificates.resources([a], []) != before

            await eventually(renewed, "the certificate that came meanwhile", patience=60)
            # What nobody names any more is gone at once, and so is what is deleted.
            await cluster.delete("secret", "b", namespace)

            async def gone() -> bool:
                return certificates.loaded.certificates == {
                    a
                } and "there is no Secret" in certificates.problem(b)

            await eventually(gone, "the deleted one to be gone", patience=60)
            await certificates.look(naming(namespace, "gone"), told.append)

            async def none() -> bool:
                return not certificates.loaded.certificates and certificates.problem(b) == ""

            await eventually(none, "what is not named to be gone", patience=60)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert {a, b} <= frozenset().union(*told)


async def test_a_control_plane_outside_reads_them_too_and_those_of_documents_from_their_files(
    cluster: Cluster, tmp_path: Path
) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(f"kubernetes: {{kubeconfig: {cluster.kubeconfig}}}\nstore: none\n")
    async with (
        cluster.namespace("5-outside") as namespace,
        Mesh(tmp_path / "mesh", config=str(config)) as mesh,
    ):
        await cluster.apply(a_secret("a", tmp_path), namespace=namespace)
        files = {"certificateFile": str(tmp_path / "a.pem"), "keyFile": str(tmp_path / "a.key")}
        document = a_document("Secret", "b", files)
        document["metadata"]["namespace"] = namespace
        mesh.write("b.yaml", document)
        (mesh.documents / "edge.yaml").write_text(a_gateway(namespace, "a", "b", "none"))
        await mesh.serve()

        async def told() -> bool:
            every = (await mesh.status()).gateways  # the cluster may have Gateways of its own
            (gateway,) = [each for each in every if each.gateway.startswith(f"{namespace}/")]
            resolved = {
                each.at: each.status for each in gateway.conditions if each.at and each.type == "ResolvedRefs"
            }
            return resolved == {"l0": True, "l1": True, "l2": False}

        await eventually(told, "both certificates to be read", patience=60)
