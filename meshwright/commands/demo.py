"""`meshwright demo`: a whole mesh on this machine."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer


def demo(
    check: Annotated[bool, typer.Option("--check", help="Send requests once and exit 0 or 1.")] = False,
) -> None:
    """Run a whole mesh on this machine: three services, real Envoys, mutual TLS, nothing but loopback."""
    from meshwright.demo.run import run_demo

    raise typer.Exit(asyncio.run(run_demo(check=check)))
