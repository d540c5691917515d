"""`meshwright services` and `meshwright workloads`: what the mesh consists of, from all sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.options import Output, OutputOption
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from meshwright.api_client import Api

OfNamespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Only those of this namespace.")]


@remote
async def services(api: Api, namespace: OfNamespace = None, output: OutputOption = Output.TABLE) -> None:
    """List the services of the mesh: ports, identities, how many instances serve, and who declared them."""
    from api.shapes.mesh import Services
    from meshwright.commands.output import show
    from meshwright.tables import show_services

    found = await api.read(Services, "services", {"namespace": namespace})
    show(
        output,
        [each.model_dump(mode="json", by_alias=True) for each in found.items],
        lambda console: show_services(found.items, console),
        [each.service for each in found.items],
    )


@remote
async def workloads(api: Api, namespace: OfNamespace = None, output: OutputOption = Output.TABLE) -> None:
    """List the workloads: what they serve, their ports and health, and whether their proxy is connected."""
    from api.shapes.mesh import Workloads
    from meshwright.commands.output import show
    from meshwright.tables import show_workloads

    found = await api.read(Workloads, "workloads", {"namespace": namespace})
    show(
        output,
        [each.model_dump(mode="json", by_alias=True) for each in found.items],
        lambda console: show_workloads(found.items, console),
        [each.workload for each in found.items],
    )
