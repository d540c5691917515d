"""`make demo CHECK=1` is `meshwright demo --check`: the whole mesh, from one command, with nothing but defaults."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.support import binaries
from tests.support.processes import meshwright, start


async def test_the_demo_passes_its_own_check_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(
        prefix="mw", dir="/tmp"
    ) as short:  # a socket's path has some 100 characters
        environment = {**os.environ, "ENVOY_BIN": binaries.envoy(), "TMPDIR": short, "HOME": str(tmp_path)}
        demo = await start("demo", tmp_path, *meshwright("demo", "--check"), env=environment)
        assert await demo.process.wait() == 0, demo.tail(40)
        left = list(Path(short).glob("meshwright-demo-*"))
    text = demo.text()
    assert "api was called by spiffe://mesh.local/ns/default/sa/web" in text
    assert "store was called by spiffe://mesh.local/ns/default/sa/api" in text
    assert "A plaintext request to store-1's sidecar was refused" in text
    assert left == []
