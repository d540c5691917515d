"""`meshwright services` and `meshwright workloads`: what the mesh consists of."""

from __future__ import annotations

import asyncio

import typer

from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir, Output, OutputOption


def services(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """List the services of the mesh: ports, identities, how many instances serve, and who declared them."""
    from meshwright.client import get_listing
    from meshwright.tables import show_services

    found = asyncio.run(get_listing(data_dir))
    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2, include={"services"}))
    else:
        show_services(found.services)


def workloads(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """List the workloads: what they serve, their ports and health, and whether their proxy is connected."""
    from meshwright.client import get_listing
    from meshwright.tables import show_workloads

    found = asyncio.run(get_listing(data_dir))
    if output is Output.JSON:
        typer.echo(found.model_dump_json(indent=2, include={"workloads"}))
    else:
        show_workloads(found.workloads)
