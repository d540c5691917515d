"""Documents side by side, as text. Pure but for the console."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"+": "green", "-": "red", "@": "cyan"}


def unified(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, name: str) -> Iterator[str]:
    """The lines of a unified diff of what authors wrote; none if it is the same."""
    from meshwright.commands.documents import authored
    from meshwright.commands.output import as_yaml

    old, new = (
        as_yaml(_ordered(authored(each))).splitlines() if each is not None else [] for each in (before, after)
    )
    yield from difflib.unified_diff(
        old,
        new,
        f"{name} (in force)" if before is not None else "/dev/null",
        f"{name} (given)" if after is not None else "/dev/null",
        lineterm="",
    )


def show(console: Console, lines: Iterator[str]) -> None:
    from meshwright.commands.output import line

    for each in lines:
        heading = each.startswith(("---", "+++"))
        line(console, each, "bold" if heading else STYLES.get(each[:1], ""))


def _ordered(document: Mapping[str, Any]) -> dict[str, Any]:
    """The order of fields says nothing: what was written in another order is no difference."""
    first = ("apiVersion", "kind", "metadata")
    names = [*(each for each in first if each in document), *sorted(set(document) - set(first))]
    return {each: _sorted(document[each]) if each not in first else document[each] for each in names}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(each) for each in value]
    return value
