"""`meshwright envoy`: the Envoy binary."""

from __future__ import annotations

from typing import Annotated

import typer

from meshwright.commands.help import Commands

app = Commands(help="The Envoy binary.")


@app.command("install")
def envoy_install(version: Annotated[str | None, typer.Option(help="Envoy's version.")] = None) -> None:
    """Install the Envoy that Meshwright is tested with into the user's cache, and print its path."""
    from envoy import install

    typer.echo(install.install(version) if version else install.install())
