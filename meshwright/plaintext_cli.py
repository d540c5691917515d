"""`meshwright plaintext`: who still speaks plaintext to whom."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from meshwright.cli_options import DEFAULT_DATA_DIR, DataDir


def plaintext(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: Annotated[str, typer.Option("--output", "-o", help="How to print it: table or json.")] = "table",
) -> None:
    """Show who calls without mesh TLS, and which ports can be made strict (MeshTLS) without refusing anybody."""
    from meshwright.client import get_plaintext
    from meshwright.plaintext_table import show

    if output not in {"table", "json"}:
        raise typer.BadParameter(f"{output!r} is none of table, json")
    found = asyncio.run(get_plaintext(data_dir))
    if output == "json":
        typer.echo(found.model_dump_json(indent=2))
    else:
        show(found)
