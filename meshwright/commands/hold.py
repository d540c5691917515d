"""`meshwright hold`: removals that were not believed."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir

app = Commands(help="Holds: mass removals that were not believed.")


@app.command("release")
def hold_release(
    service: Annotated[
        str | None, typer.Argument(help="The service, <namespace>/<name>; all if left out.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Believe the registry: let the removals that are held take effect now."""
    from mesh.names import Key
    from meshwright.client import release_holds

    which = Key.parse(service) if service else None
    typer.echo(f"released {asyncio.run(release_holds(data_dir, which))}")
