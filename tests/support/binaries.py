"""Where the real Envoy and the real Consul are: installed on first use by the project's own scripts."""

from __future__ import annotations

import functools
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


@functools.cache
def envoy() -> str:
    return _installed("envoy.sh")


@functools.cache
def consul() -> str:
    return _installed("consul.sh")


def _installed(script: str) -> str:
    ran = subprocess.run(
        [str(ROOT / "scripts" / "install" / script)], check=True, stdout=subprocess.PIPE, text=True
    )
    return ran.stdout.strip().splitlines()[-1]
