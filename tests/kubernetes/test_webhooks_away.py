"""What becomes of pods and documents while no control plane answers the API server: as `meshwright install --set` says. No node is there,
so no replica runs; nothing listens where the Service leads to.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from meshwright.kubernetes.install.options import NAME, WEBHOOKS
from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.definitions import a_policy
from tests.support.kubernetes.installed import INJECTED, SYSTEM
from tests.support.processes import meshwright

PATIENCE = 45.0
WEBHOOK = "namespace.inject.meshwright.dev"
POD_WEBHOOK = "pod.inject.meshwright.dev"
VALIDATION = "validate.meshwright.dev"
WRONG = a_policy("RetryPolicy", "api", perTryTimeout="0s")
"""What the webhook alone would refuse."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A namespace whose pods get a sidecar, on an API server where Meshwright is installed and nobody serves."""

    cluster: Cluster
    namespace: str

    async def install(self, **options: str) -> None:
        """As an operator does it: printed by the command, applied by kubectl."""
        given = [f"--set={name}={value}" for name, value in {"gatewayClass": "false", **options}.items()]
        command = meshwright("install", *given)
        made = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True)

        async def applied() -> bool:
            await self.cluster.apply(made.stdout)
            return True

        # What is of our own kinds is refused until the server has taken in their definitions.
        await self.cluster.eventually(applied, "the manifests are applied")

    async def refusal(self, what: Mapping[str, Any], namespace: str | None = None) -> str:
        """What kubectl says when it creates that; empty if it was taken. Nothing is left of it."""
        where = ("--namespace", namespace or self.namespace)
        try:
            await self.cluster.run(
                *where, "create", "--dry-run=server", "--filename=-", stdin=yaml.safe_dump(dict(what))
            )
        except KubectlError as error:
            return str(error)
        return ""

    async def until_refused(self, what: Mapping[str, Any], by: str) -> str:
        """The API server takes a moment to heed a webhook's configuration."""

        async def asked() -> str:
            said = await self.refusal(what)
            assert by in said, said or "it is taken"
            return said

        return await self.cluster.eventually(asked, f"{by} refuses", patience=PATIENCE)

    async def until_taken(self, what: Mapping[str, Any]) -> None:
        async def asked() -> bool:
            said = await self.refusal(what)
            assert not said, said
            return True

        await self.cluster.eventually(asked, "it is taken", patience=PATIENCE)


@pytest.fixture
async def shop(alone: Cluster) -> AsyncIterator[Shop]:
    async with alone.namespace("1-away", INJECTED) as namespace:
        yield Shop(alone, namespace)


def a_replica_that_is_dead(cluster: Cluster) -> dict[str, Any]:
    """What the Service leads to when a control plane has just ended: an address where nobody listens."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "dead", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "ports": [{"name": "https-webhooks", "port": WEBHOOKS, "protocol": "TCP"}],
        "endpoints": [{"addresses": [cluster.host], "conditions": {"ready": True}}],
    }


async def test_pods_wait_or_run_without_a_sidecar_as_configured(shop: Shop) -> None:
    await shop.install(failurePolicy="Fail")
    said = await shop.until_refused(objects.pod("web"), WEBHOOK)
    # By this an operator finds who did not answer: the row of docs/injection.md, "When it does not work", begins with it.
    assert "failed calling webhook" in said
    assert f"{NAME}.{SYSTEM}.svc" in said
    asking = {
        **objects.pod("web"),
        "metadata": {"name": "web", "labels": {"meshwright.dev/inject": "enabled"}},
    }
    assert POD_WEBHOOK in await shop.refusal(asking, "default"), "it has asked for one itself"

    # Who is not to be injected does not depend on us, and neither does the control plane itself.
    refusing = {
        **objects.pod("web"),
        "metadata": {"name": "web", "labels": {"meshwright.dev/inject": "disabled"}},
    }
    assert await shop.refusal(refusing) == ""
    assert await shop.refusal(objects.pod("web"), "default") == ""
    assert await shop.refusal(objects.pod("web"), SYSTEM) == ""

    await shop.cluster.apply(a_replica_that_is_dead(shop.cluster), namespace=SYSTEM)
    try:
        assert "connection refused" in await shop.until_refused(objects.pod("web"), "connect")
        await shop.install(failurePolicy="Ignore")
        await shop.until_taken(objects.pod("web"))
    finally:
        await shop.cluster.delete("endpointslice", "dead", SYSTEM)
    assert await shop.refusal(objects.pod("web")) == ""


async def test_documents_are_taken_unseen_or_refused_as_configured(shop: Shop) -> None:
    await shop.install(validationFailurePolicy="Fail")
    said = await shop.until_refused(WRONG, VALIDATION)
    assert "failed calling webhook" in said
    assert f"{NAME}.{SYSTEM}.svc" in said
    await shop.install(validationFailurePolicy="Ignore")
    await shop.until_taken(WRONG)
    # What schemas and rules say holds without us.
    mistyped = a_policy("RetryPolicy", "api", attempts="many")
    assert "spec.attempts" in await shop.refusal(mistyped)

    # Taking away needs nobody's leave, whatever is configured.
    await shop.cluster.apply(WRONG, namespace=shop.namespace)
    await shop.install(validationFailurePolicy="Fail")
    await shop.until_refused({**WRONG, "metadata": {"name": "other"}}, VALIDATION)
    await shop.cluster.delete("retrypolicy", "api", shop.namespace)
