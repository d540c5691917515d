"""Where the real Envoy and the real Consul are: installed on first use by the project's own scripts."""

from __future__ import annotations

import functools
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


OLDEST = "1.36.4"
"""The oldest Envoy whose configuration we promise to render."""


@functools.cache
def envoy(version: str | None = None) -> str:
    """The newest that is supported, or `version`."""
    return _installed("envoy.sh", *([version] if version else ()))


@functools.cache
def consul() -> str:
    return _installed("consul.sh")


def _installed(script: str, *arguments: str) -> str:
    ran = subprocess.run(
        [str(ROOT / "scripts" / "install" / script), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return ran.stdout.strip().splitlines()[-1]
