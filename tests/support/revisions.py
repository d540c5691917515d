"""Revisions of the store, written and waited for with the command line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.mesh import Mesh
from tests.support.processes import meshwright

TIMEOUT = """
apiVersion: meshwright.dev/v1alpha1
kind: TimeoutPolicy
metadata: {name: api}
spec: {targetRefs: [{kind: Service, name: api}], request: %ds}
"""


async def run(mesh: Mesh, *arguments: str, given: str = "") -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    process = await asyncio.create_subprocess_exec(
        *meshwright(*arguments, "--data-dir", str(mesh.data)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def waited(mesh: Mesh, revision: int, within: str) -> tuple[int, dict[str, Any]]:
    code, output, errors = await run(
        mesh, "wait", "--revision", str(revision), "--timeout", within, "-o", "json"
    )
    assert output, errors
    return code, json.loads(output)


async def apply(mesh: Mesh, seconds: int, *options: str) -> tuple[int, int, str]:
    code, output, errors = await run(
        mesh, "apply", "-f", "-", "-o", "json", *options, given=TIMEOUT % seconds
    )
    assert output, errors
    return code, json.loads(output)["revision"], errors
