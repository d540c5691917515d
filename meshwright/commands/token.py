"""`meshwright token`: what a proxy shows once to join the mesh."""

from __future__ import annotations

from typing import Annotated

import typer

from meshwright.commands.help import Commands
from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir, duration

app = Commands(help="Join tokens: what a proxy shows to join the mesh.")


@app.command("create")
def create(
    service_account: Annotated[str, typer.Option(help="The identity that the token is bound to.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    namespace: Annotated[str, typer.Option(help="The namespace of the identity.")] = "default",
    workload: Annotated[
        str | None, typer.Option(help="The one workload that may use it; any of that identity if unset.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it can be used, for example 30m or 24h.")] = "1h",
    uses: Annotated[int, typer.Option(help="How many proxies may join with it.", min=1)] = 1,
) -> None:
    """Make a join token and print it. It is shown this once and stored as a hash."""
    from ca.times import system_clock
    from ca.tokens import TokenStore, token_id
    from meshwright.audit import tell
    from meshwright.data_dir import used

    token = TokenStore(used(data_dir)).create(
        namespace, service_account, now=system_clock(), workload=workload, ttl=duration(ttl), uses=uses
    )
    tell(
        data_dir,
        "join token created",
        token=token_id(token),
        identity=f"{namespace}/{service_account}",
        workload=workload,
        lives=ttl,
        uses=uses,
    )
    typer.echo(token)


@app.command("list")
def list_tokens(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the join tokens: their ids, what they are bound to, and what is left of them. Secrets are not shown."""
    from ca.tokens import TokenStore
    from meshwright.data_dir import used
    from meshwright.tables import tokens

    store = TokenStore(used(data_dir))
    tokens(store.list())
    for line in store.damaged():
        typer.echo(f"meshwright: {line}", err=True)


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `token list` shows it.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a join token useless from now on. Proxies that joined with it keep their certificates."""
    from ca import tokens
    from meshwright.audit import tell
    from meshwright.data_dir import used

    # Somebody may give the whole token: its secret is not to be repeated.
    just_id = tokens.token_id(token_id)
    tokens.TokenStore(used(data_dir)).revoke(just_id)
    tell(data_dir, "join token revoked", token=just_id)
    typer.echo(f"revoked {just_id}")
