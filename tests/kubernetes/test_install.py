"""Installed and taken away again, on an API server of the test's own: what is applied, who may do what, and that nothing is left behind.

No node is there, so no pod runs; the mesh that an installation makes is tests/kubernetes/test_mesh.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import yaml

from ca.shared import Making
from kube.access import ClusterOptions
from kube.client import Cluster as Api
from meshwright.kubernetes.authority import ROTATE, SecretAuthority
from meshwright.kubernetes.concerns import Concerns
from meshwright.kubernetes.install.objects import Object
from meshwright.kubernetes.install.options import AUTHORITY_SECRET, parse
from meshwright.kubernetes.install.printed import installed as manifests
from meshwright.kubernetes.install.printed import printed, uninstalled
from tests.support.binaries import ROOT
from tests.support.kubernetes import cluster as clusters
from tests.support.kubernetes.cluster import Cluster, KubectlError
from tests.support.kubernetes.installed import SYSTEM

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

NUMBER = int(os.environ.get("MESHWRIGHT_ALONE", "6"))
"""Of the cluster: nobody else's."""
CHART = str(ROOT / "deploy" / "helm" / "meshwright")
VERSION = "--kube-version=1.34.0"
OPTIONS = ["gatewayClass=false"]  # no Gateway API is here
ACCOUNT = f"--as=system:serviceaccount:{SYSTEM}:meshwright"
PASSING = ("events", "leases.coordination.k8s.io", "endpointslices.discovery.k8s.io", "endpoints")
"""What Kubernetes itself writes all the time."""


@pytest.fixture(scope="module")
def alone() -> Iterator[Cluster]:
    made = clusters.up(NUMBER, node=False)
    try:
        yield made
    finally:
        clusters.down(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fresh(alone: Cluster) -> Cluster:
    """The API server with Meshwright's manifests applied."""
    await applied(alone)
    return alone


async def applied(cluster: Cluster) -> None:
    """What is of our own kinds is refused until the server has taken in their definitions."""
    text = printed(manifests(parse(OPTIONS)))

    async def done() -> bool:
        await cluster.apply(text)
        return True

    await cluster.eventually(done, "the manifests are applied")


async def removed(cluster: Cluster) -> None:
    text = printed(uninstalled(parse(OPTIONS), crds=True))
    await cluster.run("delete", "--ignore-not-found", "--filename=-", stdin=text, patience=240)


async def everything(cluster: Cluster) -> set[str]:
    """The names of all objects that the API server has."""
    kinds = (await cluster.run("api-resources", "--verbs=list", "-o", "name")).split()
    wanted = ",".join(each for each in kinds if each not in PASSING)
    shown = "-o=custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name"
    return set((await cluster.run("get", wanted, "-A", "--no-headers", shown)).splitlines())


@pytest.mark.parametrize(
    "asked",
    [
        "create pods",
        "create pods/exec",
        "create deployments.apps -n kube-system",  # there are no gateways here
        "list secrets -n default",
        "delete secrets -n default",
        "update configmaps -n default",
        "create clusterrolebindings",
        "update nodes",
        "delete namespaces",
        "create tokenreviews --subresource=status",
        "delete accesspolicies.meshwright.dev -n default",
    ],
)
async def test_what_the_control_plane_may_not(fresh: Cluster, asked: str) -> None:
    with pytest.raises(KubectlError, match="no"):
        await fresh.run("auth", "can-i", *asked.split(), ACCOUNT)


@contextlib.asynccontextmanager
async def as_the_control_plane(cluster: Cluster, directory: Path) -> AsyncIterator[Api]:
    """The API server, with the rights of the control plane's own account."""
    token = (await cluster.run("-n", SYSTEM, "create", "token", "meshwright")).strip()
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text())
    kubeconfig["users"] = [{"name": each["name"], "user": {"token": token}} for each in kubeconfig["users"]]
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig))
    async with Api(ClusterOptions(kubeconfig=str(path)), clock=time.monotonic) as api:
        yield api


async def test_replicas_that_start_at_once_have_one_authority(fresh: Cluster, tmp_path: Path) -> None:
    async with as_the_control_plane(fresh, tmp_path) as api:
        replicas = [_authority(api, tmp_path / name) for name in ("one", "two", "three")]
        await asyncio.gather(*(each.open() for each in replicas))
        roots = {each.files.roots.read_bytes() for each in replicas}
        keys = {each.files.key.read_bytes() for each in replicas}
        assert len(roots) == len(keys) == 1
        secret = await fresh.get("secret", AUTHORITY_SECRET, SYSTEM)
        later = _authority(api, tmp_path / "later")
        await later.open()
        assert {later.files.roots.read_bytes()} == roots, "what is there is never made anew"
        assert (await fresh.get("secret", AUTHORITY_SECRET, SYSTEM))["data"] == secret["data"]


async def test_a_new_root_reaches_every_replica(fresh: Cluster, tmp_path: Path) -> None:
    """Asked for by an annotation, seen to by one, and followed by the others without a restart."""
    told: list[object] = []
    async with as_the_control_plane(fresh, tmp_path) as api:
        one, other = (_authority(api, tmp_path / name, timedelta(0)) for name in ("one", "other"))
        await one.open()
        await other.open()
        before = other.files.roots.read_bytes()
        asked = f"{ROTATE}={uuid4().hex}"
        await fresh.run("-n", SYSTEM, "annotate", "--overwrite", "secret", AUTHORITY_SECRET, asked)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(one.keep(lambda _, fields: told.append(fields["stage"]))),
                group.create_task(other.follow()),
            ]

            async def moved() -> bool:
                now = other.files.roots.read_bytes()
                return len(told) >= 3 and now.count(b"BEGIN") == 1 and now != before

            await fresh.eventually(moved, "the new root is there, and the old one is gone")
            for each in tasks:
                each.cancel()
    assert told == ["trusting", "signing", "stable"]


def _authority(api: Api, directory: Path, wait: timedelta = timedelta(hours=25)) -> SecretAuthority:
    making = Making("mesh.test", wait)
    return SecretAuthority(
        api, SYSTEM, AUTHORITY_SECRET, directory, making, lambda: datetime.now(UTC), Concerns()
    )


async def test_nothing_is_left_behind(alone: Cluster) -> None:
    await removed(alone)
    before = await everything(alone)
    await applied(alone)
    # What the control plane makes by itself, in other namespaces too.
    await alone.apply(await _bundle(alone), namespace="default")
    assert len(await everything(alone) - before) > 40
    await removed(alone)

    async def gone() -> bool:
        return not await everything(alone) - before

    await alone.eventually(gone, "all of it is gone", patience=240)


async def _bundle(cluster: Cluster) -> Object:
    """As `meshwright/kubernetes/bundles.py` writes it: owned by what goes with the installation."""
    owner = await cluster.get("mutatingwebhookconfiguration", "meshwright")
    reference = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "name": "meshwright",
        "uid": owner["metadata"]["uid"],
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "meshwright-bundle", "ownerReferences": [reference]},
        "data": {"roots.pem": ""},
    }


async def test_the_three_forms_are_one(alone: Cluster) -> None:
    """What `kubectl apply -k`, Helm and `meshwright install` would apply."""
    ours = _by_name(manifests(parse([])))
    kustomized = await alone.run("kustomize", str(ROOT / "deploy" / "kubernetes"))
    assert _by_name(list(yaml.safe_load_all(kustomized))) == ours
    for given in (
        ["settings.quiet=0.25"],
        ["gatewayClass=false", "settings.kubernetes.history=0", "logLevel=debug"],
    ):
        # As JSON, a text has its quotes.
        rendered = await asyncio.to_thread(_rendered, *(each.replace("=debug", '="debug"') for each in given))
        made = _by_name([each for each in yaml.safe_load_all(rendered) if each])
        ours = _by_name(manifests(parse(given)))
        assert made == {name: each for name, each in ours.items() if name[0] != "Namespace"}


async def test_the_other_forms_are_applied_and_taken_away(alone: Cluster) -> None:
    """What they leave in a cluster is what `meshwright install` leaves, but for what Helm keeps of a release."""
    await asyncio.to_thread(clusters.gateway_api, alone)  # for the GatewayClass
    options = parse([])
    ours, others = printed(manifests(options)), printed(uninstalled(options, crds=True))
    base = str(ROOT / "deploy" / "kubernetes")
    helm = ("--namespace", SYSTEM, f"--kubeconfig={alone.kubeconfig}")

    async def taken_away() -> None:
        await alone.run("delete", "--ignore-not-found", "--filename=-", stdin=others, patience=240)

    await taken_away()
    before = await _standing(alone)

    async def left_by(form: Callable[[], Awaitable[object]]) -> set[str]:
        await form()
        made = await _standing(alone) - before
        await taken_away()
        return made

    wanted = await left_by(lambda: alone.apply(ours))
    assert len(wanted) > 40
    assert await left_by(lambda: alone.run("apply", "-k", base)) == wanted

    async def released() -> None:
        await asyncio.to_thread(_helm, "install", "meshwright", CHART, "--create-namespace", *helm)

    await released()
    made = await _standing(alone) - before
    assert {each for each in made if "sh.helm.release" not in each} == wanted
    await asyncio.to_thread(_helm, "uninstall", "meshwright", *helm)
    kept = {each.split()[0] for each in await _standing(alone) - before}
    assert kept == {"CustomResourceDefinition", "APIService", "Namespace"}, (
        "Helm leaves definitions, and their group"
    )
    await taken_away()
    assert await _standing(alone) == before


async def _standing(cluster: Cluster) -> set[str]:
    """All objects but what controllers make of them, or of a namespace, under names that differ each time or a moment later."""
    made = {
        "Pod",
        "ReplicaSet",
        "ConfigMap",
        "ServiceAccount",
        "Endpoints",
        "EndpointSlice",
        "Event",
        "IPAddress",
    }
    own = (" meshwright", f" {SYSTEM}")
    return {
        " ".join(each.split())
        for each in await everything(cluster)
        if each.split()[0] not in made or each.rstrip().endswith(own)
    }


def _rendered(*values: str) -> str:
    """The chart as Helm renders it, with its definitions."""
    chosen = [f"--set-json={each}" for each in values]
    return _helm("template", "meshwright", CHART, "--namespace", SYSTEM, "--include-crds", *chosen, VERSION)


def _helm(*arguments: str) -> str:
    helm = _output(str(ROOT / "scripts" / "install" / "helm.sh")).strip()
    return _output(helm, *arguments)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _by_name(objects: list[Object]) -> dict[tuple[str, str], Any]:
    """Settings are compared as what they say, not as they are written."""
    found = {(each["kind"], each["metadata"]["name"]): json.loads(json.dumps(each)) for each in objects}
    for (kind, _), each in found.items():
        if kind == "ConfigMap":
            each["data"] = {name: yaml.safe_load(text) for name, text in each["data"].items()}
    return found
