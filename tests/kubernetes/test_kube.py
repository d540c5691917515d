"""`kube/` against a real API server: requests, what refusals say, reflectors, and who leads."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from kube import client
from kube.access import ClusterOptions
from kube.client import Selector
from kube.errors import AlreadyExists, BadCluster, Conflict, Forbidden, Invalid, NotFound, Unreachable
from kube.following import Changed, Event, Gone, Replaced
from kube.lease import Lease
from kube.reflector import Reflector
from kube.resource import CONFIG_MAPS, LEASES, PODS, SERVICE_ACCOUNTS, Object, ObjectName, Resource
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.line import a_line, kubeconfig
from tests.support.processes import eventually

PATIENCE = 60.0


@pytest.fixture
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    async with cluster.namespace("2-kube") as name:
        yield name


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[client.Cluster]:
    async with client.Cluster(
        ClusterOptions(kubeconfig=str(cluster.kubeconfig)), clock=time.monotonic
    ) as opened:
        yield opened


def a_map(name: str, namespace: str, **data: str) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


@dataclass
class Heard:
    events: list[Event[Any]] = field(default_factory=list)

    def tell(self, events: Sequence[Event[Any]]) -> None:
        self.events += events

    async def until(self, fits: Callable[[Event[Any]], bool], what: str) -> Event[Any]:
        async def found() -> Event[Any] | None:
            return next((each for each in self.events if fits(each)), None)

        return await eventually(found, what, patience=PATIENCE)


def data(value: Object) -> str | None:
    found: str | None = (value.get("data") or {}).get("a")
    return found


@asynccontextmanager
async def reflecting(api: client.Cluster, selector: Selector) -> AsyncIterator[Heard]:
    heard = Heard()
    reflector = Reflector(
        api, CONFIG_MAPS, data, selector=selector, clock=time.monotonic, random=random.random
    )
    running = asyncio.create_task(reflector.run(heard.tell))
    try:
        yield heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_objects_are_made_applied_patched_and_deleted(api: client.Cluster, namespace: str) -> None:
    made = await api.create(CONFIG_MAPS, a_map("one", namespace, a="1"), namespace)
    assert made["data"] == {"a": "1"}
    with pytest.raises(AlreadyExists, match=f"create configmaps {namespace}/one"):
        await api.create(CONFIG_MAPS, a_map("one", namespace), namespace)
    applied = await api.apply(CONFIG_MAPS, a_map("two", namespace, a="1"))
    assert applied["metadata"]["managedFields"][0]["manager"] == "meshwright"
    with pytest.raises(Conflict):
        await api.apply(CONFIG_MAPS, a_map("two", namespace, a="2"), manager="another", force=False)
    patched = await api.patch(CONFIG_MAPS, "two", {"data": {"b": "2"}}, namespace)
    assert patched["data"] == {"a": "1", "b": "2"}
    with pytest.raises(Conflict):
        await api.replace(CONFIG_MAPS, applied)
    assert {each["metadata"]["name"] for each in await api.list_all(CONFIG_MAPS, Selector(namespace))} >= {
        "one",
        "two",
    }
    with pytest.raises(Conflict):
        await api.delete(CONFIG_MAPS, "one", namespace, uid="of-another")
    await api.delete(CONFIG_MAPS, "one", namespace)
    with pytest.raises(NotFound):
        await api.get(CONFIG_MAPS, "one", namespace)


async def test_a_refused_object_names_its_fields(api: client.Cluster, namespace: str) -> None:
    with pytest.raises(Invalid) as refused:
        await api.create(CONFIG_MAPS, a_map("UPPER", namespace), namespace)
    assert [each.path for each in refused.value.fields] == ["metadata.name"]


async def test_a_resource_that_is_not_served_is_said_to_be(api: client.Cluster) -> None:
    with pytest.raises(NotFound, match="is its CustomResourceDefinition installed"):
        await api.list_all(Resource("nobody.example", "v1", "things", "Thing"))


async def test_a_missing_right_is_named_as_the_rule_to_add(
    api: client.Cluster, cluster: Cluster, namespace: str, tmp_path: Any
) -> None:
    await api.create(SERVICE_ACCOUNTS, {"metadata": {"name": "nobody"}}, namespace)
    token = (await cluster.run("-n", namespace, "create", "token", "nobody")).strip()
    async with a_line(cluster) as line:
        config = await kubeconfig(cluster, line, tmp_path / "config", token)
        async with client.Cluster(ClusterOptions(kubeconfig=str(config)), clock=time.monotonic) as nobody:
            with pytest.raises(Forbidden) as refused:
                await nobody.list_all(PODS)
            assert '{apiGroups: [""], resources: ["pods"], verbs: ["list"]} in a ClusterRole' in str(
                refused.value
            )
            assert token not in str(refused.value)
            line.cut()
            with pytest.raises(Unreachable, match="cannot be reached"):
                await nobody.get(PODS, "one", namespace)


async def test_a_token_is_reviewed_for_an_audience(
    api: client.Cluster, cluster: Cluster, namespace: str
) -> None:
    token = (
        await cluster.run("-n", namespace, "create", "token", "default", "--audience=meshwright")
    ).strip()
    found = await api.review_token(token, ("meshwright",))
    assert found.authenticated
    assert found.username == f"system:serviceaccount:{namespace}:default"
    other = await api.review_token(token, ("elsewhere",))
    assert not other.authenticated
    assert other.problem
    assert token not in other.problem


async def test_a_configuration_of_no_use_says_the_way_out(tmp_path: Any) -> None:
    secret = "token: hunter2\n"
    broken = tmp_path / "broken"
    broken.write_text(
        f"clusters: [{{name: a}}]\nusers: [{{name: b, user: {{{secret.strip()}}}}}]\ncontexts: []\n"
    )
    for options in (
        ClusterOptions(kubeconfig=str(tmp_path / "none")),
        ClusterOptions(kubeconfig=str(broken)),
        ClusterOptions(),
    ):
        with pytest.raises(BadCluster) as refused:
            async with client.Cluster(options, clock=time.monotonic):
                pass
        assert "kubeconfig" in str(refused.value)
        assert "hunter2" not in str(refused.value)


async def test_lists_come_in_pages(api: client.Cluster, namespace: str) -> None:
    for n in range(5):
        await api.create(CONFIG_MAPS, a_map(f"m{n}", namespace, a=str(n)), namespace)
    names, more = [], ""
    while True:
        page = await api.page(CONFIG_MAPS, Selector(namespace), more=more, limit=2)
        names.append([each["metadata"]["name"] for each in page.items])
        if not (more := page.more):
            break
    assert [len(each) for each in names[:-1]] == [2] * (len(names) - 1)
    assert {f"m{n}" for n in range(5)} <= {name for each in names for name in each}


async def test_a_reflector_tells_what_changes_and_goes_on_when_the_line_was_cut(
    api: client.Cluster, cluster: Cluster, namespace: str, tmp_path: Any
) -> None:
    await api.create(CONFIG_MAPS, a_map("one", namespace, a="1"), namespace)
    one = ObjectName(namespace, "one")
    async with a_line(cluster) as line:
        config = await kubeconfig(cluster, line, tmp_path / "config")
        async with (
            client.Cluster(ClusterOptions(kubeconfig=str(config)), clock=time.monotonic) as over_line,
            reflecting(over_line, Selector(namespace)) as heard,
        ):
            first = await heard.until(lambda each: isinstance(each, Replaced), "the list")
            assert isinstance(first, Replaced)
            assert first.values == {one: "1"}
            line.cut()
            await api.patch(CONFIG_MAPS, "one", {"data": {"a": "2"}}, namespace)
            line.mend()
            assert await heard.until(lambda each: isinstance(each, Changed), "the change") == Changed(
                one, "2", "1"
            )
            await api.delete(CONFIG_MAPS, "one", namespace)
            assert await heard.until(lambda each: isinstance(each, Gone), "the end") == Gone(one, "2")
            assert sum(isinstance(each, Replaced) for each in heard.events) == 1, "it went on where it was"


async def test_one_leads_and_another_takes_over_at_once_when_the_lease_is_given_away(
    api: client.Cluster, namespace: str
) -> None:
    leading: list[str] = []
    together: list[tuple[str, ...]] = []

    def candidate(me: str) -> Lease:
        return Lease(
            api,
            "lead",
            namespace,
            me,
            clock=time.monotonic,
            wall=lambda: datetime.now(UTC),
            random=random.random,
        )

    async def compete(lease: Lease, me: str) -> None:
        async def work() -> None:
            leading.append(me)
            together.append(tuple(leading))
            try:
                await asyncio.Event().wait()
            finally:
                leading.remove(me)

        async with asyncio.TaskGroup() as group:
            group.create_task(lease.run())
            group.create_task(lease.alone(work))

    leases = {me: candidate(me) for me in ("a", "b")}
    tasks = {me: asyncio.create_task(compete(lease, me)) for me, lease in leases.items()}

    async def leader() -> str | None:
        return leading[0] if leading else None

    try:
        first = await eventually(leader, "somebody leads", patience=PATIENCE)
        (other,) = leases.keys() - {first}
        tasks[first].cancel()
        await asyncio.gather(tasks[first], return_exceptions=True)

        async def taken_over() -> bool:
            return await leader() == other

        await eventually(taken_over, "the other leads", patience=PATIENCE)
        # Somebody writes another holder into it: whoever led stops.
        taken = {"holderIdentity": "somebody", "leaseDurationSeconds": 3600}
        await api.patch(LEASES, "lead", {"spec": taken}, namespace)

        async def nobody() -> bool:
            return await leader() is None

        await eventually(nobody, "it stops", patience=PATIENCE)
        assert leases[other].holder == "somebody"
        assert all(len(each) == 1 for each in together), "two led at once"
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
