"""`meshwright validate`: documents, without a control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def validate(
    documents: Annotated[Path, typer.Argument(help="A directory of YAML documents.")],
) -> None:
    """Check documents without a control plane: exit with 1, and say what is wrong, if one would be refused."""
    from meshwright.validation import validate_directory

    errors, warnings, taken = validate_directory(documents)
    for line in errors:
        typer.echo(f"REFUSED {line}")
    for line in warnings:
        typer.echo(f"WARNING {line}")
    typer.echo(f"{taken} documents are good, {len(errors)} errors, {len(warnings)} warnings")
    raise typer.Exit(1 if errors else 0)
