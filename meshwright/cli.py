"""The `meshwright` command: the root, and which commands it has. What each does is in `meshwright/commands/`."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import sys
from typing import Annotated

import typer

from meshwright.commands import (
    backup,
    ca,
    config_dump,
    demo,
    envoy,
    hold,
    intercept,
    listing,
    plaintext,
    proxy,
    serve,
    status,
    token,
    validate,
)
from meshwright.errors import MeshwrightError

app = typer.Typer(
    name="meshwright",
    help="Meshwright, a service mesh control plane: services from Consul and files in, Envoy over xDS out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

# One line for each command, in the order of the help. A module may import at its top only what is light.
app.command()(serve.serve)
app.command()(proxy.proxy)
app.command()(status.status)
app.command()(listing.services)
app.command()(listing.workloads)
app.command("config-dump")(config_dump.config_dump)
app.command()(validate.validate)
app.command()(demo.demo)
app.command()(intercept.intercept)
app.command()(plaintext.plaintext)
app.command()(backup.backup)
app.command()(backup.restore)
app.add_typer(envoy.app, name="envoy")
app.add_typer(token.app, name="token")
app.add_typer(hold.app, name="hold")
app.add_typer(ca.app, name="ca")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("meshwright"))
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Entry point: an error of ours is one message and exit code 1, anything else a traceback."""
    # gRPC's own lines are not our log; what matters of them is told by us. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from ca.errors import CaError
    from discovery.errors import DiscoveryError
    from envoy.errors import EnvoyError
    from mesh.errors import MeshError
    from store.errors import StoreError

    # A core of this process would hold keys; Envoy, its child, inherits that.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        app()
    except (MeshwrightError, CaError, DiscoveryError, EnvoyError, MeshError, StoreError) as error:
        typer.echo(f"meshwright: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(
            f"meshwright: {error.filename}: {error.strerror}: make room, or see to it that this user may use it",
            err=True,
        )
        sys.exit(1)
