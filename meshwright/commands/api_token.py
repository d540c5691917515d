"""`meshwright api-token`: who may use the API, and for what."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import Output, OutputOption, duration
from meshwright.commands.remote import completing, remote

if TYPE_CHECKING:
    from rich.console import Console

    from api.shapes.tokens import ApiTokenList
    from meshwright.api_client import Api

app = Commands(help="API tokens: who may use the API and this command line from afar, and for what.")


class Role(StrEnum):
    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


async def _ids(api: Api, _ctx: typer.Context) -> list[str]:
    return [str(each["id"]) for each in (await api.get("api-tokens")).body["items"]]


@app.command("create")
@remote
async def create(
    api: Api,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Whose it is, or what for: history and audit log call it so."),
    ],
    role: Annotated[
        Role, typer.Option("--role", help="viewer reads, editor writes, admin makes tokens too.")
    ] = Role.VIEWER,
    namespaces: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", help="Only there; repeat it. Everywhere if left out."),
    ] = None,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good, for example 12h or 90d.")] = "90d",
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an API token and print it. It is shown this once and stored as a hash."""
    from api.shapes.tokens import ApiTokenMade
    from meshwright.commands.output import line, show, tell

    wish = {
        "name": name,
        "role": role.value,
        "namespaces": namespaces or None,
        "life": int(duration(ttl).total_seconds()),
    }
    made = api.model(ApiTokenMade, (await api.send("POST", "api-tokens", wish)).body)
    tell(f"token {made.id}: {role.value} as {name!r}, until {made.expires:%Y-%m-%d %H:%M} UTC")
    show(
        output,
        made.model_dump(mode="json", by_alias=True),
        lambda console: line(console, made.token),
        [made.id],
    )


@app.command("list")
@remote
async def list_tokens(api: Api, output: OutputOption = Output.TABLE) -> None:
    """List the API tokens: whose they are, and what they may. Secrets are not shown."""
    from api.shapes.tokens import ApiTokenList
    from meshwright.commands.output import show, tell

    found = await api.read(ApiTokenList, "api-tokens")
    show(
        output,
        [each.model_dump(mode="json", by_alias=True) for each in found.items],
        lambda console: _people(console, found),
        [each.id for each in found.items],
    )
    for each in found.damaged:
        tell(f"meshwright: {each}")


@app.command("revoke")
@remote
async def revoke(
    api: Api,
    token_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Its id, as `api-token list` shows it.", autocompletion=completing(_ids)
        ),
    ],
) -> None:
    """Make an API token useless from now on."""
    from meshwright.api_client import path

    await api.send("DELETE", path("api-tokens", token_id))
    typer.echo(f"revoked {token_id}")


def _people(console: Console, found: ApiTokenList) -> None:
    from meshwright.commands.layout import Column
    from meshwright.commands.output import line, table

    if not found.items:
        line(console, "there are no API tokens: `meshwright api-token create` makes one")
        return
    columns = ("id", "name", "role", Column("namespaces", folds=True), "expires (UTC)", "made by")
    rows = [
        (
            each.id,
            each.name,
            each.role,
            "all" if each.namespaces is None else ", ".join(each.namespaces),
            f"{each.expires:%Y-%m-%d %H:%M}",
            each.created_by,
        )
        for each in found.items
    ]
    table(console, columns, rows)
