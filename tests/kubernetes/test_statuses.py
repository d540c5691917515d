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


BUFFERING = """
apiVersion: meshwright.dev/v1alpha1
kind: Buffering
metadata: {{name: b-{number}}}
spec: {{targetRefs: [{{kind: Service, name: api-{number}}}], maxRequestBytes: {most}}}
"""
COUNT = 12


async def writes(cluster: Cluster, resource: str) -> int:
    """How often the API server was asked to write a status of `resource`, by its own count."""
    lines = (await cluster.run("get", "--raw", "/metrics")).splitlines()
    ours = (
        line
        for line in lines
        if line.startswith("apiserver_request_total{")
        and f'resource="{resource}"' in line
        and 'subresource="status"' in line
        and 'verb="PATCH"' in line
    )
    return sum(int(float(line.rpartition(" ")[2])) for line in ours)


async def test_writes_of_statuses_are_as_many_as_there_is_to_say(installed: Cluster) -> None:
    """Counted by the API server: a write or two for each object that changed, none for those that did not."""
    async with installed.namespace("3-statuses") as namespace:

        async def all_settled(generation: int) -> bool:
            found = await installed.objects("bufferings", namespace)
            return len(found) == COUNT and all(
                each.get("status", {}).get("observedGeneration") == generation
                and condition(each, "Programmed").get("status") == "True"
                for each in found
            )

        before = await writes(installed, "bufferings")
        for generation in (1, 2):
            texts = [BUFFERING.format(number=number, most=1000 * generation) for number in range(COUNT)]
            await installed.apply(*texts, namespace=namespace)
            await installed.eventually(
                lambda at=generation: all_settled(at),  # type: ignore[misc]
                f"the statuses are about generation {generation}",
            )
            after = await writes(installed, "bufferings")
            print(f"generation {generation}: {after - before} writes for {COUNT} objects")
            assert COUNT <= after - before <= 2 * COUNT
            before = after
        for number in range(3):
            name = f"other-{number}"
            await installed.apply(RETRY.format(name=name, service=name, attempts=1), namespace=namespace)
            await settled(installed, namespace, name, "PartlyWithoutEffect")
        assert await writes(installed, "bufferings") == before
