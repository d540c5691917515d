"""Crowds of simulated proxies: `xds_crowd`, run beside a control plane."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.mesh import Mesh
from tests.support.processes import Process, running

CROWD = Path(__file__).with_name("xds_crowd.py")


@asynccontextmanager
async def a_crowd(
    folder: Path, mesh: Mesh, name: str, counts: dict[str, int], first: int = 0
) -> AsyncIterator[Process]:
    """Nice: in life the crowd runs on other machines, and takes no time of the control plane's."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    command = (
        "nice",
        "-n",
        "15",
        sys.executable,
        str(CROWD),
        str(mesh.plaintext_port),
        json.dumps(counts),
        str(first),
    )
    async with running(name, folder, *command, env=environment) as process:
        yield process
