"""`meshwright status`: troubles first, then sources and proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote
from meshwright.targets import OnThisMachine

if TYPE_CHECKING:
    from meshwright.api_client import Api


@remote
async def status(
    api: Api,
    output: OutputOption = Output.TABLE,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if somebody should look.")] = False,
) -> None:
    """Show troubles first; then each source, and each proxy: connected, in sync, behind or refused, and why."""
    from api.shapes.status import Status
    from meshwright.commands.output import show
    from meshwright.tables import show_status, troubled

    found = await api.read(Status, "status")
    where = f" --data-dir {api.target.data_dir}" if isinstance(api.target, OnThisMachine) else ""
    show(
        output,
        found.model_dump(mode="json", by_alias=True),
        lambda console: show_status(found, f"meshwright hold release{where}", console),
        [each.proxy for each in found.proxies],
    )
    raise typer.Exit(1 if check and troubled(found) else 0)
