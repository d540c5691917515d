"""Wrong documents as a table: what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from documents.errors import DocumentError


@dataclass(frozen=True)
class Wrong:
    """A document, and what is said of it: `<path>: <reason>. <remedy>` for each problem."""

    name: str
    text: str
    said: list[str]


def what_is_said(errors: Iterable[DocumentError]) -> list[str]:
    """As `Wrong.said` has it; without the path where a problem concerns no field."""
    return [
        f"{each.where.path}: {each.reason}. {each.remedy}"
        if each.where.path
        else f"{each.reason}. {each.remedy}"
        for each in errors
    ]
