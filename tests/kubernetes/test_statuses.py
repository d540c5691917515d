"""Statuses of our own kinds on a real cluster: they say what is in force and what is in vain, and then they are still."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes.cluster import Cluster

RETRY = """
apiVersion: meshwright.dev/v1alpha1
kind: RetryPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{{kind: Service, name: {service}}}], attempts: {attempts}}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {ports: [{name: http, port: 80}]}
"""


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


async def settled(cluster: Cluster, namespace: str, name: str, reason: str = "Accepted") -> dict[str, Any]:
    """The RetryPolicy once its status is about its generation, with that reason."""

    async def look() -> dict[str, Any] | None:
        found = await cluster.get("retry", name, namespace)
        there = (
            found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
            and condition(found, "Accepted").get("reason") == reason
            and condition(found, "Programmed").get("status") == "True"
        )
        return found if there else None

    return await cluster.eventually(look, f"the status of {name} says {reason}")


async def test_a_policy_says_whether_it_is_in_force_and_what_is_in_vain(installed: Cluster) -> None:
    async with installed.namespace("3-statuses") as namespace:
        await installed.apply(
            SERVICE,
            RETRY.format(name="good", service="api", attempts=3),
            RETRY.format(name="vain", service="nobody", attempts=3),
            namespace=namespace,
        )
        good = await settled(installed, namespace, "good")
        assert condition(good, "Accepted")["status"] == "True"
        vain = await settled(installed, namespace, "vain", "PartlyWithoutEffect")
        assert f"{namespace}/nobody" in condition(vain, "Accepted")["message"]

        await installed.apply(RETRY.format(name="good", service="api", attempts=4), namespace=namespace)
        again = await settled(installed, namespace, "good")
        assert again["status"]["observedGeneration"] == 2
        since = condition(good, "Accepted")["lastTransitionTime"]
        assert condition(again, "Accepted")["lastTransitionTime"] == since


async def test_settled_statuses_are_not_written_again(installed: Cluster) -> None:
    """Others come and go meanwhile, and the mesh with them: the version of the object that is settled stays."""
    async with installed.namespace("3-statuses") as namespace:
        await installed.apply(
            SERVICE, RETRY.format(name="still", service="api", attempts=3), namespace=namespace
        )
        still = await settled(installed, namespace, "still")
        for number in range(3):
            name = f"moving-{number}"
            await installed.apply(RETRY.format(name=name, service=name, attempts=1), namespace=namespace)
            moving = await settled(installed, namespace, name, "PartlyWithoutEffect")
            writes = [
                each
                for each in moving["metadata"].get("managedFields", ())
                if each.get("subresource") == "status"
            ]
            assert len(writes) <= 1
        after = await installed.get("retry", "still", namespace)
        assert after["metadata"]["resourceVersion"] == still["metadata"]["resourceVersion"]
