"""The `meshwright` command: the root, and which commands it has. What each does is in `meshwright/commands/`."""

from __future__ import annotations

import os
import resource
import sys
from typing import Annotated, NoReturn

import typer

from meshwright.commands import (
    analyze,
    api_token,
    apply,
    backup,
    ca,
    completion,
    config_dump,
    context,
    crds,
    delete,
    demo,
    describe,
    diff,
    doctor,
    edit,
    envoy,
    explain,
    get,
    history,
    hold,
    inject,
    install,
    intercept,
    listing,
    logs,
    plaintext,
    plan,
    proxy,
    quarantine,
    rollout,
    serve,
    status,
    store,
    token,
    upgrade_check,
    validate,
    version,
    waiting,
)
from meshwright.commands.help import Commands
from meshwright.errors import ExitCode, MeshwrightError

SECTIONS = LOOKING, CHANGING, TRUST, RUNNING, HERE = (
    "Look at the mesh",
    "Change it",
    "Identities and access",
    "Run it",
    "This machine",
)

app = Commands(
    "meshwright",
    help="Meshwright, a service mesh control plane: services from Kubernetes, Consul and files in, Envoy over xDS out.",
    sections=SECTIONS,
    completion=True,
)

# One line for each command, by the section of the help that it stands in. A module of commands may import at its top only
# what is light (tests/unit/meshwright/test_cli_start.py), so that --help and completion are quick.
app.command(rich_help_panel=LOOKING)(status.status)
app.command(rich_help_panel=LOOKING)(listing.services)
app.command(rich_help_panel=LOOKING)(listing.workloads)
app.command("config-dump", rich_help_panel=LOOKING)(config_dump.config_dump)
app.command(rich_help_panel=LOOKING)(logs.logs)
app.command(rich_help_panel=LOOKING)(logs.top)
app.command(rich_help_panel=LOOKING)(plaintext.plaintext)
app.command(rich_help_panel=LOOKING)(get.get)
app.command(rich_help_panel=LOOKING)(describe.describe)
app.command(rich_help_panel=LOOKING)(explain.explain)
app.command(rich_help_panel=LOOKING)(history.history)
app.command(rich_help_panel=LOOKING)(analyze.analyze)
app.command(rich_help_panel=CHANGING)(apply.apply)
app.command(rich_help_panel=CHANGING)(edit.edit)
app.command(rich_help_panel=CHANGING)(delete.delete)
app.command(rich_help_panel=CHANGING)(diff.diff)
app.command(rich_help_panel=CHANGING)(plan.plan)
app.command(rich_help_panel=CHANGING)(history.rollback)
app.command(rich_help_panel=CHANGING)(waiting.wait)
app.command(rich_help_panel=CHANGING)(validate.validate)
app.add_typer(hold.app, name="hold", rich_help_panel=CHANGING)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=CHANGING)
app.add_typer(rollout.app, name="rollout", rich_help_panel=CHANGING)
app.add_typer(token.app, name="token", rich_help_panel=TRUST)
app.add_typer(store.app, name="store", rich_help_panel=RUNNING)
app.add_typer(api_token.app, name="api-token", rich_help_panel=TRUST)
app.add_typer(ca.app, name="ca", rich_help_panel=TRUST)
app.command(rich_help_panel=RUNNING)(serve.serve)
app.command(rich_help_panel=RUNNING)(proxy.proxy)
app.command(rich_help_panel=RUNNING)(proxy.leave)
app.command(rich_help_panel=RUNNING)(intercept.intercept)
app.command(rich_help_panel=RUNNING)(inject.inject)
app.command(rich_help_panel=RUNNING)(install.install)
app.command(rich_help_panel=RUNNING)(install.uninstall)
app.command(rich_help_panel=RUNNING)(crds.crds)
app.command(rich_help_panel=RUNNING)(demo.demo)
app.command("upgrade-check", rich_help_panel=RUNNING)(upgrade_check.upgrade_check)
app.command(rich_help_panel=RUNNING)(backup.backup)
app.command(rich_help_panel=RUNNING)(backup.restore)
app.command("export", rich_help_panel=RUNNING)(store.save)
app.command("import", rich_help_panel=RUNNING)(store.bring)
app.command(rich_help_panel=HERE)(doctor.doctor)
app.add_typer(context.app, name="context", rich_help_panel=HERE)
app.command(rich_help_panel=HERE)(completion.completion)
app.command(rich_help_panel=HERE)(version.version)
app.add_typer(envoy.app, name="envoy", rich_help_panel=HERE)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version.own())
        raise typer.Exit


@app.callback()
def _top(
    shows_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del shows_version


def main() -> None:
    """Entry point: an error of ours is one message and its exit code, anything else a traceback."""
    # gRPC's own lines are not our log; what matters of them is told by us. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from ca.errors import CaError
    from discovery.errors import DiscoveryError
    from envoy.errors import EnvoyError
    from kube.errors import KubeError
    from mesh.errors import MeshError
    from store.errors import StoreError

    # A core of this process would hold keys; Envoy, its child, inherits that.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        app(prog_name="meshwright")
    except MeshwrightError as error:
        _end(str(error), error.exit_code)
    except (CaError, DiscoveryError, EnvoyError, KubeError, MeshError, StoreError) as error:
        _end(str(error), ExitCode.FAILED)
    except OSError as error:
        if error.filename is None:
            raise
        _end(
            f"{error.filename}: {error.strerror}: make room, or see to it that this user may use it",
            ExitCode.FAILED,
        )


def _end(said: str, code: ExitCode) -> NoReturn:
    from meshwright.commands.output import tell

    tell(f"meshwright: {said}")
    sys.exit(code)
