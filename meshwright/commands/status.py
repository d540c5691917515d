"""`meshwright status`: troubles first, then sources and proxies."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir, Output, OutputOption


def status(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: OutputOption = Output.TABLE,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if somebody should look.")] = False,
) -> None:
    """Show troubles first; then each source, and each proxy: connected, in sync, behind or refused, and why."""
    from meshwright.client import get_status
    from meshwright.tables import show_status, troubled

    found = asyncio.run(get_status(data_dir))
    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show_status(found, release=f"meshwright hold release --data-dir {data_dir}")
    raise typer.Exit(1 if check and troubled(found) else 0)
