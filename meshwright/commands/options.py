"""What several commands take."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from meshwright.targets import DEFAULT_DATA_DIR as DEFAULT_DATA_DIR  # noqa: PLC0414

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="MESHWRIGHT_DATA_DIR", help="The control plane's data directory."),
]


def duration(text: str) -> timedelta:
    """From `90s`, `30m`, `24h` or `7d`."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdigit():
        raise typer.BadParameter(f"{text!r} is not a duration: use for example 90s, 30m, 24h or 7d")
    return timedelta(**{units[unit]: int(number)})


class Output(StrEnum):
    """How to print: for people (`wide` says more), for programs, or names alone (`<kind>/<namespace>/<name>`), one a line."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]

DocumentsOption = Annotated[
    Path | None,
    typer.Option(
        "--documents",
        metavar="DIR",
        help="Without a control plane: as if the documents of this directory were all there is.",
        exists=True,
        file_okay=False,
    ),
]
TrustDomainOption = Annotated[str, typer.Option("--trust-domain", help="The mesh's, with --documents.")]
