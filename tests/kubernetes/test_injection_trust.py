"""Whom the cluster trusts: what one replica keeps current, whoever changes it."""

from __future__ import annotations

import base64

from tests.support.kubernetes.cluster import Cluster, KubectlError

CONFIGURATION = "mutatingwebhookconfiguration"


async def roots(cluster: Cluster, namespace: str) -> str:
    """Of the ConfigMap there; empty if there is none."""
    try:
        found = await cluster.get("configmap", "meshwright-bundle", namespace)
    except KubectlError:
        return ""
    return str(found["data"]["roots.pem"])


async def test_each_namespace_has_the_roots_and_gets_them_back(installed: Cluster) -> None:
    own = await roots(installed, "meshwright-system")
    assert own.startswith("-----BEGIN CERTIFICATE-----")
    assert not await roots(installed, "kube-system")
    async with installed.namespace("4-trust") as namespace:

        async def there() -> bool:
            return await roots(installed, namespace) == own

        await installed.eventually(there, "the roots in a new namespace")
        await installed.delete("configmap", "meshwright-bundle", namespace)
        await installed.eventually(there, "the roots after they were deleted")
        await installed.run(
            *("-n", namespace, "patch", "configmap", "meshwright-bundle", "--type=merge"),
            *("-p", '{"data": {"roots.pem": "nothing"}}'),
        )
        await installed.eventually(there, "the roots after they were changed")
        found = await installed.get("configmap", "meshwright-bundle", namespace)
        (owner,) = found["metadata"]["ownerReferences"]
        assert owner["uid"] == (await installed.get(CONFIGURATION, "meshwright"))["metadata"]["uid"]


async def test_the_api_server_is_told_by_what_to_verify_the_webhooks(installed: Cluster) -> None:
    wanted = base64.b64encode((await roots(installed, "meshwright-system")).encode()).decode()

    async def told() -> bool:
        found = await installed.get(CONFIGURATION, "meshwright")
        return all(each["clientConfig"].get("caBundle") == wanted for each in found["webhooks"])

    await installed.eventually(told, "caBundle")
    await installed.run(
        *("patch", CONFIGURATION, "meshwright", "--type=json"),
        *("-p", '[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]'),
    )
    await installed.eventually(told, "caBundle after it was removed")
