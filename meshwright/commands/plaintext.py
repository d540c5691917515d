"""`meshwright plaintext`: who still speaks plaintext to whom."""

from __future__ import annotations

import asyncio

import typer

from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir, Output, OutputOption


def plaintext(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show who calls without mesh TLS, and which ports can be made strict (MeshTLS) without refusing anybody."""
    from meshwright.client import get_plaintext
    from meshwright.plaintext_table import show

    found = asyncio.run(get_plaintext(data_dir))
    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2))
    else:
        show(found)
