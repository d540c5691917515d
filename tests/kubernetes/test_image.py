"""The image that runs in pods: small rights, and all that the three programs in it need."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.kubernetes import objects
from tests.support.kubernetes.cluster import Cluster


@pytest.fixture
async def pod(installed: Cluster) -> AsyncIterator[str]:
    """A pod of the image under restricted Pod Security, with a root that cannot be written."""
    restricted = {**objects.RESTRICTED, "readOnlyRootFilesystem": True}
    del restricted["runAsUser"]  # the image's own
    program = objects.container(image="meshwright:dev", securityContext=restricted)
    async with installed.namespace(
        "1-image", {"pod-security.kubernetes.io/enforce": "restricted"}
    ) as namespace:
        await installed.apply(objects.pod("one", program), namespace=namespace)
        await installed.ready(namespace, "pod/one")
        yield namespace


async def test_it_runs_as_somebody_with_all_that_it_needs(cluster: Cluster, pod: str) -> None:
    async def said(script: str) -> str:
        return await cluster.exec(pod, "one", "sh", "-c", script)

    assert "uid=10001(meshwright)" in await said("id")
    assert "meshwright-proxy" in await said("id 10002")
    assert (await said("meshwright --version")).strip()
    assert "/1.40." in await said("envoy --version")
    assert "nf_tables" in await said("iptables-restore --version && ip -Version")
    assert not await said("find / -xdev -perm /6000 -user root -type f -name 'sudo*' 2>/dev/null || true")
    absent = await said("for each in curl wget apt-get pip gcc; do command -v $each; done; true")
    assert not absent.strip(), "what nobody needs"


async def test_nothing_is_compiled_when_it_starts(cluster: Cluster, pod: str) -> None:
    """The root is read-only: without byte code each start would compile two thousand modules."""
    script = (
        "import meshwright.control_plane, os, sys; "
        "print([name for name, m in sys.modules.items()"
        " if getattr(m, '__cached__', None) and not os.path.exists(m.__cached__)])"
    )
    assert (await cluster.exec(pod, "one", "python3", "-c", script)).strip() == "[]"
