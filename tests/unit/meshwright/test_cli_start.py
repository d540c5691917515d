"""Help and completion are quick: what is slow to import is not imported for them. Modules are counted, not time: pydantic is typer's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "aiohttp", "api", "ca.builtin", "consul", "cryptography", "envoy.render", "google", "grpc", "immutables", "lupa", "mesh.state", "pb",
    "prometheus_client", "redis", "rich", "structlog", "watchfiles", "yaml",
}  # fmt: skip


@pytest.mark.parametrize("arguments", [("--help",), ("ca", "--help"), ("completion", "bash")])
def test_nothing_heavy_is_imported_for(arguments: tuple[str, ...]) -> None:
    script = (
        "import sys; from meshwright.cli import main; sys.argv[1:] = sys.argv[2:]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('\\n'.join(['MODULES', *sys.modules]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "meshwright", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    imported = set(ran.stdout.partition("MODULES\n")[2].split())
    assert "typer" in imported
    assert sorted(HEAVY & imported) == []
    assert len(imported) < 500, f"{len(imported)} modules: what is new in {sorted(imported)}"
