"""Who may write every object in one namespace of a cluster, and nothing beyond: what of their documents comes into force, with a webhook and without.

The control plane runs on this machine: the API server has no node, and asks it over the network.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from meshwright.kubernetes.install.options import parse
from meshwright.kubernetes.install.printed import installed
from tests.support.control_plane import serving
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.definitions import install
from tests.support.kubernetes.installed import SYSTEM
from tests.support.kubernetes.wrong_objects import ROOT
from tests.support.ports import free_port

RBAC: Final = "rbac.authorization.k8s.io"
T: Final = "targetRefs: [{kind: Service, name: api}]"
BEYOND: Final = {
    "faultinjections": ("FaultInjection", "targetRefs: [{kind: Mesh}]\nabort: {httpStatus: 418}"),
    "accesspolicies": (
        "AccessPolicy",
        "targetRefs: [{kind: Service, name: api, namespace: shop}]\naction: allow\nrules: [{}]",
    ),
    "meshtls": ("MeshTLS", "targetRefs: [{kind: Namespace, name: shop}]\nmode: permissive"),
    "envoypatches": (
        "EnvoyPatch",
        f"{T}\nresource: Cluster\nname: 'shop/api:80'\nmerge: {{connectTimeout: 3s}}",
    ),
    "externalservices": (
        "ExternalService",
        "hosts: [a.example]\nresolution: static\nendpoints: [127.0.0.1]\nports: [{name: http, port: 80, protocol: http}]",
    ),
    "extensions": ("Extension", f"{T}\nlua: 'function envoy_on_request(handle) end'"),
}
"""What a tenant has no business with, by resource."""


def a_document(kind: str, name: str, spec: str) -> str:
    manifest = {"apiVersion": "meshwright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return yaml.safe_dump(manifest | {"spec": yaml.safe_load(spec)})


class Tenant:
    """A service account with a Role for everything of ours in `namespace`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    async def settle_in(self) -> None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tenant"}}
        rules = [{"apiGroups": ["meshwright.dev"], "resources": ["*"], "verbs": ["*"]}]
        role = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "Role",
            "metadata": {"name": "tenant"},
            "rules": rules,
        }
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "tenant"},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "tenant"},
            "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": self.namespace}],
        }
        await self.cluster.apply(account, role, binding, namespace=self.namespace)

    async def creates(self, text: str, namespace: str | None = None, *options: str) -> str:
        """What kubectl says when the tenant creates that and may not; empty if it was taken."""
        who = f"--as=system:serviceaccount:{self.namespace}:tenant"
        where = ("--namespace", namespace or self.namespace)
        try:
            await self.cluster.run(who, *where, "create", *options, "--filename=-", stdin=text)
        except KubectlError as error:
            return str(error)
        return ""

    async def accepted(self, resource: str, name: str, namespace: str | None = None) -> tuple[str, str, str]:
        """The condition of a document once it has one: its status, reason and message."""

        async def look() -> dict[str, Any] | None:
            found = await self.cluster.get(f"{resource}.meshwright.dev", name, namespace or self.namespace)
            conditions = found.get("status", {}).get("conditions", [])
            return next((each for each in conditions if each["type"] == "Accepted"), None)

        told = await self.cluster.eventually(look, f"the status of {name}")
        return told["status"], told["reason"], told["message"]


@pytest.fixture
async def tenant(alone: Cluster, tmp_path: Path) -> AsyncIterator[Tenant]:
    """With a control plane that reads and answers; nobody asks it yet."""
    await install(alone)
    await alone.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    port = free_port()
    settings = tmp_path / "settings.yaml"
    group = {
        "kubeconfig": str(alone.kubeconfig),
        "namespace": SYSTEM,
        "webhook_address": f"{alone.host}:{port}",
    }
    settings.write_text(yaml.safe_dump({"kubernetes": group, "store": "none", "server_names": [alone.host]}))
    async with alone.namespace("7-tenant") as namespace:
        made = Tenant(alone, namespace)
        await made.settle_in()
        with serving(tmp_path, "--config", str(settings)):
            yield made


@contextlib.asynccontextmanager
async def asked(tenant: Tenant, settings: Path) -> AsyncIterator[None]:
    """The API server asks the control plane before it takes a document, as installed but for the way there."""
    address = yaml.safe_load(settings.read_text())["kubernetes"]["webhook_address"]
    (made,) = (each for each in installed(parse([])) if each["kind"] == "ValidatingWebhookConfiguration")
    for each in made["webhooks"]:
        each["clientConfig"] = {"url": f"https://{address}/validate"}
        each["failurePolicy"] = "Fail"
    await tenant.cluster.apply(made)
    try:
        yield
    finally:
        await tenant.cluster.delete("validatingwebhookconfiguration", made["metadata"]["name"])


async def test_a_tenant_governs_its_own_namespace_and_nothing_beyond(tenant: Tenant, tmp_path: Path) -> None:
    assert "forbidden" in await tenant.creates(a_document("RetryPolicy", "own", f"{T}\nattempts: 3"), SYSTEM)
    for kind, spec in (("RetryPolicy", f"{T}\nattempts: 3"), *BEYOND.values()):
        assert await tenant.creates(a_document(kind, "own", spec)) == "", "no webhook is there"
    status, _, _ = await tenant.accepted("retrypolicies", "own")
    assert status == "True"
    for resource in BEYOND:
        status, reason, message = await tenant.accepted(resource, "own")
        assert (status, reason) == ("False", "NotPermitted"), resource
        assert ROOT in message
    await tenant.cluster.apply(
        *(a_document(kind, "theirs", spec) for kind, spec in BEYOND.values()), namespace=SYSTEM
    )
    for resource in BEYOND:
        status, _, _ = await tenant.accepted(resource, "theirs", SYSTEM)
        assert status == "True", resource

    async with asked(tenant, tmp_path / "settings.yaml"):
        fault = a_document("FaultInjection", "more", BEYOND["faultinjections"][1])

        async def refused() -> bool:
            said = await tenant.creates(fault, None, "--dry-run=server")
            assert "denied the request: spec.targetRefs[0]: it reaches the whole mesh" in said, said
            assert ROOT in said
            return True

        await tenant.cluster.eventually(refused, "the webhook refuses")
        for kind, spec in BEYOND.values():
            assert ROOT in await tenant.creates(a_document(kind, "more", spec), None, "--dry-run=server")
        assert await tenant.creates(a_document("RetryPolicy", "more", f"{T}\nattempts: 3")) == ""


async def test_the_address_of_anybodys_service_is_not_to_be_had(tenant: Tenant, tmp_path: Path) -> None:
    cluster = tenant.cluster
    async with cluster.namespace("7-owner") as owner:
        ports = [{"name": "http", "port": 80}]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "api"},
            "spec": {"ports": ports},
        }
        await cluster.apply(service, namespace=owner)
        address = (await cluster.get("services", "api", owner))["spec"]["clusterIP"]
        spec = f"address: '{address}'\nports: [{{name: http, port: 80, protocol: http}}]"
        said = f"spec.address: {address} is an address that its cluster has given to Service {owner}/api"
        async with asked(tenant, tmp_path / "settings.yaml"):

            async def refused() -> bool:
                answer = await tenant.creates(a_document("Service", "hijack", spec), None, "--dry-run=server")
                assert f"denied the request: {said}" in answer, answer
                return True

            await cluster.eventually(refused, "the webhook refuses")
        assert await tenant.creates(a_document("Service", "hijack", spec)) == "", "no webhook is there"

        async def conflicted() -> bool:
            status, reason, message = await tenant.accepted("services", "hijack")
            return (status, reason) == ("False", "Conflicted") and message.startswith(said)

        await cluster.eventually(conflicted, "the status says whose it is")
