"""`meshwright config-dump`: what a proxy is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.remote import completing, remote

if TYPE_CHECKING:
    from meshwright.api_client import Api


async def _proxies(api: Api, _ctx: typer.Context) -> Iterable[str]:
    return [str(each["proxy"]) for each in (await api.get("proxies")).body["items"]]


@remote
async def config_dump(
    api: Api,
    proxy: Annotated[
        str,
        typer.Argument(
            metavar="PROXY",
            help="By its workload: [<namespace>/]<workload>.",
            autocompletion=completing(_proxies),
        ),
    ],
) -> None:
    """Print what the control plane gives a proxy, as JSON, with where each resource comes from. Keys are never shown."""
    from meshwright.api_client import path
    from meshwright.commands.documents import split
    from meshwright.commands.output import as_json, write

    where = path("proxies", *split(proxy, api.namespace), "config-dump")
    write(as_json((await api.get(where)).body))
