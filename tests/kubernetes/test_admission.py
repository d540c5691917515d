"""Wrong objects of our kinds, each refused by the schema, by a rule in CEL or by the webhook, with the field's name."""

from __future__ import annotations

import asyncio

import yaml

from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.wrong_objects import WRONG, Wrong

AT_ONCE = 4


async def refusal(cluster: Cluster, wrong: Wrong, namespace: str) -> str:
    """What kubectl says; empty if the object was taken."""
    try:
        text = yaml.safe_dump(wrong.manifest(namespace))
        await cluster.run("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=text)
    except KubectlError as error:
        return str(error)
    return ""


async def test_each_wrong_object_is_refused_with_the_name_of_the_field(installed: Cluster) -> None:
    limit = asyncio.Semaphore(AT_ONCE)
    async with installed.namespace("3-admission") as namespace:

        async def asked() -> bool:
            return "denied" in await refusal(
                installed, next(each for each in WRONG if each.by == "webhook"), namespace
            )

        await installed.eventually(asked, "the webhook answers")

        async def one(wrong: Wrong) -> str:
            async with limit:
                said = await refusal(installed, wrong, namespace)
            missing = [part for part in wrong.says if part not in said]
            by_webhook = 'admission webhook "validate.meshwright.dev" denied the request' in said
            if not said or missing or by_webhook != (wrong.by == "webhook"):
                return f"{wrong}\n  said: {said}\n  not said: {missing}"
            return ""

        wrong = list(filter(None, await asyncio.gather(*map(one, WRONG))))
        assert not wrong, "\n".join(wrong)
        print(f"{len(WRONG)} wrong objects refused")


async def test_what_has_no_effect_is_warned_of(installed: Cluster) -> None:
    async with installed.namespace("3-admission") as namespace:
        workload = Wrong("Workload", "address: 10.0.0.1\nservices: [api]", "nobody", (), "late").manifest(
            namespace
        )
        said = await installed.run(
            "create", "--dry-run=server", "--filename=-", stdin=yaml.safe_dump(workload)
        )
        assert "created" in said
