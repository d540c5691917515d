"""`meshwright backup` and `meshwright restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshwright.commands.options import DEFAULT_DATA_DIR, DataDir


def backup(
    archive: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write it. Must not be there yet.")
    ],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Save the data directory (authority, last good state, audit log; no join tokens) to a file, while the control plane runs."""
    from ca.times import system_clock
    from meshwright.audit import tell
    from meshwright.backup import create

    made = create(data_dir, archive, system_clock())
    tell(data_dir, "backup made", file=str(archive.absolute()))
    typer.echo(f"saved {made.files} files to {archive}")
    if not made.sealed:
        typer.echo("it holds the authority's keys, not encrypted: who has it is the mesh", err=True)


def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `meshwright backup` wrote.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a data directory of a backup, without join tokens. It must not be there yet, or be empty."""
    from meshwright.audit import tell
    from meshwright.backup import restore as restored

    made = restored(archive, data_dir)
    tell(data_dir, "backup restored", file=str(archive.absolute()), made=made.made.isoformat())
    typer.echo(f"restored {made.files} files of {made.made:%Y-%m-%d %H:%M} UTC to {data_dir}")
    typer.echo(
        "join tokens are not brought back, for some may have been used or revoked since: make new ones by `meshwright token create`",
        err=True,
    )
