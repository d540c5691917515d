"""`meshwright token`: what a proxy shows once to join the mesh.

On the control plane's machine tokens are made in its data directory, also while it does not run; from afar, by the API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import Output, OutputOption, duration
from meshwright.commands.remote import remote

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from api.shapes.tokens import JoinTokenShown
    from meshwright.api_client import Api

app = Commands(help="Join tokens: what a proxy shows to join the mesh.")


@app.command("create")
@remote
async def create(
    api: Api,
    service_account: Annotated[str, typer.Option(help="The identity that the token is bound to.")],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="The namespace of the identity.")
    ] = None,
    workload: Annotated[
        str | None, typer.Option(help="The one workload that may use it; any of that identity if unset.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it can be used, for example 30m or 24h.")] = "1h",
    uses: Annotated[int, typer.Option(help="How many proxies may join with it.", min=1)] = 1,
) -> None:
    """Make a join token and print it. It is shown this once and stored as a hash."""
    where, life = namespace or api.namespace, duration(ttl)
    directory = _directory(api)
    if directory is not None:
        from ca.times import system_clock
        from ca.tokens import TokenStore, token_id
        from meshwright.audit import tell

        token = TokenStore(directory).create(
            where, service_account, now=system_clock(), workload=workload, ttl=life, uses=uses
        )
        tell(
            directory,
            "join token created",
            token=token_id(token),
            identity=f"{where}/{service_account}",
            workload=workload,
            lives=ttl,
            uses=uses,
        )
    else:
        wish = {
            "namespace": where,
            "serviceAccount": service_account,
            "workload": workload,
            "life": int(life.total_seconds()),
            "uses": uses,
        }
        token = str((await api.send("POST", "tokens", wish)).body["token"])
    typer.echo(token)


@app.command("list")
@remote
async def list_tokens(api: Api, output: OutputOption = Output.TABLE) -> None:
    """List the join tokens: their ids, what they are bound to, and what is left of them. Secrets are not shown."""
    from meshwright.commands.output import show, tell

    found, damaged = await _listed(api)
    show(
        output,
        [each.model_dump(mode="json", by_alias=True) for each in found],
        lambda console: _people(console, found),
        [each.id for each in found],
    )
    for each in damaged:
        tell(f"meshwright: {each}")


@app.command("revoke")
@remote
async def revoke(
    api: Api,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `token list` shows it.")],
) -> None:
    """Make a join token useless from now on. Proxies that joined with it keep their certificates."""
    from ca import tokens
    from meshwright.api_client import path

    # Somebody may give the whole token: its secret is not to be repeated.
    just_id = tokens.token_id(token_id)
    directory = _directory(api)
    if directory is not None:
        from meshwright.audit import tell

        tokens.TokenStore(directory).revoke(just_id)
        tell(directory, "join token revoked", token=just_id)
    else:
        await api.send("DELETE", path("tokens", just_id))
    typer.echo(f"revoked {just_id}")


def _directory(api: Api) -> Path | None:
    """The data directory, if it is on this machine."""
    from meshwright.data_dir import used
    from meshwright.targets import OnThisMachine

    return used(api.target.data_dir) if isinstance(api.target, OnThisMachine) else None


async def _listed(api: Api) -> tuple[tuple[JoinTokenShown, ...], tuple[str, ...]]:
    """The tokens, and what is damaged."""
    from api.shapes.tokens import JoinTokens, JoinTokenShown
    from ca.tokens import TokenStore

    directory = _directory(api)
    if directory is None:
        listed = await api.read(JoinTokens, "tokens")
        return listed.items, listed.damaged
    store = TokenStore(directory)
    found = tuple(
        JoinTokenShown(
            id=each.token_id,
            namespace=each.namespace,
            service_account=each.service_account,
            workload=each.workload,
            created=each.created,
            expires=each.expires,
            uses=each.uses,
            used=each.used,
        )
        for each in store.list()
    )
    return found, tuple(store.damaged())


def _people(console: Console, found: tuple[JoinTokenShown, ...]) -> None:
    from meshwright.commands.output import table

    rows = [
        (
            each.id,
            f"ns/{each.namespace}/sa/{each.service_account}",
            each.workload or "any",
            each.expires.isoformat(timespec="seconds"),
            f"{each.used}/{each.uses}",
        )
        for each in found
    ]
    table(console, ("token", "identity", "workload", "expires", "used"), rows)
