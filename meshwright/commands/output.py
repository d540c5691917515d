"""How commands print. People get tables and lines on a terminal's width; programs get JSON, YAML or names.

Nothing but what was asked for goes to standard output; what is said besides (warnings, what happens while one waits) goes to standard error by `tell`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from meshwright.commands.layout import Column, lay, paragraph
from meshwright.commands.options import Output
from meshwright.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def a_console(file: TextIO | None = None) -> Console:
    """For people. Colours only on a terminal, and not with NO_COLOR; a pipe has no width."""
    from rich.console import Console

    stream = file or sys.stdout
    if stream.isatty():
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return Console(file=stream, highlight=False, color_system=None if plain else "auto", no_color=plain)
    return Console(file=stream, highlight=False, color_system=None, force_terminal=False, soft_wrap=True)


def width_of(console: Console) -> int | None:
    """None in a pipe."""
    return console.width if console.is_terminal else None


def show(
    output: Output,
    data: Any,
    people: Callable[[Console], None],
    names: Sequence[str] | None = None,
) -> None:
    """Print `data` (JSON-able) for programs, or call `people` with a console. `names` are what `-o name` prints.

    A list is one JSON array, and several YAML documents.
    """
    if output is Output.JSON:
        write(as_json(data))
    elif output is Output.YAML:
        write(as_yaml(data))
    elif output is Output.NAME:
        if names is None:
            raise UsageError("-o name: what this command shows has no names; use -o json")
        for name in names:
            write(name + "\n")
    else:
        people(a_console())


def write(text: str) -> None:
    """Text that is meant for programs, as it is."""
    sys.stdout.write(text)


def as_json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def as_yaml(data: Any) -> str:
    import yaml

    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 100}
    if isinstance(data, list):
        return str(yaml.dump_all(data, Dumper=yaml.CSafeDumper, explicit_start=True, **options))
    return str(yaml.dump(data, Dumper=yaml.CSafeDumper, **options))


def table(console: Console, columns: Sequence[Column | str], rows: Iterable[Sequence[str]]) -> None:
    """`columns`: a `Column`, or a heading alone for what is never folded."""
    made = [each if isinstance(each, Column) else Column(each) for each in columns]
    laid = lay(made, [[printable(cell) for cell in row] for row in rows], width_of(console))
    if laid.heading is not None:
        line(console, laid.heading, "bold")
    for each in laid.lines:
        line(console, each)


def say(console: Console, text: str, style: str = "") -> None:
    """Prose: on a terminal it is broken between words."""
    for each in text.split("\n"):
        for part in paragraph(each, width_of(console)):
            line(console, part, style)


def line(console: Console, text: str, style: str = "") -> None:
    """One line, whatever its length. `style` (red, yellow, green, dim) only where there are colours."""
    from rich.text import Text

    console.print(Text(printable(text), style=style), soft_wrap=True)


def tell(text: str) -> None:
    """Something besides the answer, on standard error."""
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    for each in printable(text).split("\n"):
        for part in paragraph(each, width):
            sys.stderr.write(f"{part}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """`text` without control characters: much of it comes from proxies and registries, which could clear the screen by them."""
    return "".join(
        each if each == "\n" or each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text
    )
