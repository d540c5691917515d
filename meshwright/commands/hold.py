"""`meshwright hold`: removals that were not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from meshwright.api_client import Api

app = Commands(help="Holds: mass removals that were not believed.")


@app.command("release")
@remote
async def release(
    api: Api,
    service: Annotated[
        str | None, typer.Argument(metavar="[SERVICE]", help="[<namespace>/]<name>; all if left out.")
    ] = None,
) -> None:
    """Believe the registry: let the removals that are held take effect now."""
    from api.shapes.mesh import Released
    from meshwright.api_client import path
    from meshwright.commands.documents import split
    from meshwright.commands.written import counted

    where = path("holds", "release", *(split(service, api.namespace) if service else ()))
    found = api.model(Released, (await api.send("POST", where)).body)
    typer.echo(f"released {counted(found.released, 'hold')}")
