"""Meshwright on the test cluster, as its manifests install it, from the image of this tree."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Final

from meshwright.kubernetes.install.options import parse
from meshwright.kubernetes.install.printed import installed, printed
from tests.support.binaries import ROOT
from tests.support.kubernetes.cluster import Cluster

SYSTEM: Final = "meshwright-system"
INJECTED: Final = {"meshwright.dev/inject": "enabled"}
DATA: Final = "/var/lib/meshwright/data"
IMAGE_SCRIPT: Final = ROOT / "scripts" / "kubernetes" / "image.sh"


async def install(cluster: Cluster, *options: str) -> None:
    """Apply what `meshwright install` prints, and wait until it serves. Pods of an older image are replaced, one after the other."""
    digest = await _image()
    await cluster.apply(printed(installed(parse(list(options)))))
    patch = {"spec": {"template": {"metadata": {"annotations": {"meshwright.dev/test-image": digest}}}}}
    await cluster.run("-n", SYSTEM, "patch", "deployment", "meshwright", "--patch", json.dumps(patch))
    await cluster.ready(SYSTEM, "deploy/meshwright", patience=300)


async def _image() -> str:
    """Build and load it; what was built from the same tree before is not built again."""
    process = await asyncio.create_subprocess_exec(
        str(IMAGE_SCRIPT),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{IMAGE_SCRIPT.name} exited with {process.returncode}:\n{err.decode()[-4000:]}")
    return out.decode().split()[-1]


async def meshwright(cluster: Cluster, *arguments: str) -> str:
    """The output of `meshwright ARGUMENTS` in a pod of the control plane."""
    return await cluster.exec(SYSTEM, "deploy/meshwright", "meshwright", *arguments, "--data-dir", DATA)
