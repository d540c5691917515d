"""Our kinds on a real API server: what is right is taken, and kubectl shows what it says."""

from __future__ import annotations

import asyncio

import pytest

from meshwright.kubernetes.crds import crds
from meshwright.reference_doc import example
from store.kubernetes_kinds import own_kinds
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.installed import SYSTEM

OWN = tuple(own_kinds())


@pytest.fixture(scope="module")
def kinds(alone: Cluster) -> Cluster:
    """An API server with our kinds, as this tree defines them; no Meshwright is installed there, whose webhook judges what examples target."""

    async def install() -> None:
        await alone.apply(*crds())
        names = [f"crd/{each['metadata']['name']}" for each in crds()]
        await alone.run("wait", "--for=condition=Established", "--timeout=60s", *names)

    asyncio.run(install())
    return alone


def examples() -> list[str]:
    """Documents of our kinds from the reference pages, each as it is written there: kubectl must read what we read."""
    texts = [text for kind in OWN for text in example(kind).split("\n---\n")]
    return [text for text in texts if kind_of(text)]


def kind_of(text: str) -> str:
    """Its kind, if it is one of ours in clusters."""
    lines = text.splitlines()
    if "apiVersion: meshwright.dev/v1alpha1" not in lines:
        return ""
    kind = next(line.removeprefix("kind: ") for line in lines if line.startswith("kind: "))
    return kind if kind in {each.name for each in OWN} else ""


async def test_every_example_of_the_reference_is_taken(kinds: Cluster) -> None:
    assert {kind_of(each) for each in examples()} == {each.name for each in OWN}
    await kinds.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    for each in examples():
        # One by one, for examples of two kinds may have one name. Strict, as kubectl is: a field that the schema lacks is refused.
        where = ("--namespace", SYSTEM)
        await kinds.run(*where, "create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=each)


async def test_defaults_are_filled_in_where_nothing_else_could_say_them(kinds: Cluster) -> None:
    async with kinds.namespace("3-crds") as namespace:
        await kinds.apply(
            "{apiVersion: meshwright.dev/v1alpha1, kind: Service, metadata: {name: api}, spec: {ports: [{name: a, port: 80}]}}",
            "{apiVersion: meshwright.dev/v1alpha1, kind: RetryPolicy, metadata: {name: api}, spec: {targetRefs: [{kind: Service, name: api}]}}",
            namespace=namespace,
        )
        service = await kinds.get("services.meshwright.dev", "api", namespace)
        assert service["spec"]["ports"][0]["protocol"] == "tcp"
        retry = await kinds.get("retry", "api", namespace)
        assert retry["spec"] == {"targetRefs": [{"kind": "Service", "name": "api"}]}


async def test_get_shows_what_each_kind_says(kinds: Cluster) -> None:
    async with kinds.namespace("3-crds") as namespace:
        for each in examples():
            await kinds.apply(each, namespace=namespace)
        shown = await asyncio.gather(*(_table(kinds, namespace, each.name) for each in OWN))
        for kind, (header, row) in zip(OWN, shown, strict=True):
            assert {"NAME", "ACCEPTED", "PROGRAMMED", "AGE"} <= {*header}, kind.name
            said = [
                cell
                for name, cell in zip(header, row, strict=False)
                if name not in {"NAME", "ACCEPTED", "PROGRAMMED", "AGE"}
            ]
            assert any(cell not in {"", "<none>"} for cell in said), f"{kind.name}: {header} {row}"
        everything = await kinds.run("--namespace", namespace, "get", "meshwright", "--output=name")
        assert len(everything.split()) >= len(OWN)


async def _table(cluster: Cluster, namespace: str, kind: str) -> tuple[list[str], list[str]]:
    """The first two lines of `kubectl get`, by columns, which are as wide as their headers say."""
    resource = next(each["metadata"]["name"] for each in crds() if each["spec"]["names"]["kind"] == kind)
    lines = (await cluster.run("--namespace", namespace, "get", resource)).splitlines()
    header = lines[0]
    starts = [
        0,
        *(at + 3 for at in range(len(header) - 3) if header[at : at + 3] == "   " and header[at + 3] != " "),
    ]
    ends = [*starts[1:], None]
    return (
        [header[start:end].strip() for start, end in zip(starts, ends, strict=True)],
        [lines[1][start:end].strip() for start, end in zip(starts, ends, strict=True)],
    )
