"""`meshwright config-dump`: what a proxy is given."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir


def config_dump(
    proxy: Annotated[
        str, typer.Argument(help="The proxy: <namespace>/<workload>; the namespace default may be left out.")
    ],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print what the control plane gives a proxy, as JSON, with where each resource comes from. Keys are never shown."""
    from mesh.names import Key
    from meshwright.client import get_config_dump

    typer.echo(asyncio.run(get_config_dump(data_dir, Key.parse(proxy))))
