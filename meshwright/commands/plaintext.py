"""`meshwright plaintext`: who still speaks plaintext to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from meshwright.api_client import Api


@remote
async def plaintext(api: Api, output: OutputOption = Output.TABLE) -> None:
    """Show who calls without mesh TLS, and which ports can be made strict (MeshTLS) without refusing anybody."""
    from api.shapes.status import PlaintextReport
    from meshwright.commands import output as printing
    from meshwright.plaintext_table import show

    found = await api.read(PlaintextReport, "plaintext")
    data = found.model_dump(mode="json", by_alias=True)
    printing.show(output, data, lambda console: show(found, console))
