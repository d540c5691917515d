"""`meshwright envoy`: the Envoy binary."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="The Envoy binary.", no_args_is_help=True)


@app.command("install")
def envoy_install(version: Annotated[str | None, typer.Option(help="Envoy's version.")] = None) -> None:
    """Install the Envoy that Meshwright is tested with into the user's cache, and print its path."""
    from envoy import install

    typer.echo(install.install(version) if version else install.install())
