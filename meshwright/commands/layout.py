"""Tables as lines of text, as wide as they may be. Pure.

What identifies a thing (the columns that are not `folds`) is never cut nor folded, for it is copied from the screen. Columns that
fold give way first; where even that is not enough, each row becomes a paragraph with a line for each column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

GAP = "  "
NARROWEST = 12
"""Columns that a folding one keeps, where it had more."""


@dataclass(frozen=True, slots=True)
class Column:
    heading: str
    folds: bool = False


@dataclass(frozen=True, slots=True)
class Laid:
    """`heading`: the line above; None where each row is a paragraph."""

    heading: str | None
    lines: tuple[str, ...]


def lay(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> Laid:
    """`width` None: nobody looks, so nothing is folded."""
    rows = [[" ⏎ ".join(cell.splitlines()) for cell in row] for row in rows]
    natural = [
        max(cell_len(each) for each in (column.heading, *(row[index] for row in rows)))
        for index, column in enumerate(columns)
    ]
    widths = natural if width is None else _fitted(columns, natural, width)
    if widths is None:
        return Laid(None, tuple(_paragraphs(columns, rows, width or 0)))
    heading = _joined([column.heading for column in columns], widths)
    return Laid(heading, tuple(_table(columns, rows, widths)))


def fold(text: str, width: int) -> list[str]:
    """Break between words where that can be; a longer word is broken anywhere."""
    if cell_len(text) <= width:
        return [text]
    folded, line = [], ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if cell_len(candidate) <= width:
            line = candidate
            continue
        if line:
            folded.append(line)
        *whole, line = chop_cells(word, width) or [""]
        folded += whole
    return [*folded, line]


def paragraph(text: str, width: int | None) -> list[str]:
    """Prose, broken between words only: what is longer than a line (a name, a path) stays whole. Later lines are indented as the first."""
    if width is None or cell_len(text) <= width:
        return [text]
    indent = text[: len(text) - len(text.lstrip())]
    folded, line = [], indent
    for word in text.split():
        candidate = f"{line} {word}" if line.strip() else f"{indent}{word}"
        if cell_len(candidate) > width and line.strip():
            folded.append(line)
            candidate = f"{indent}{word}"
        line = candidate
    return [*folded, line]


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int] | None:
    """The widest folding column gives way, again and again. None if that does not do."""
    widths = list(natural)
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while excess > 0:
        giving = [index for index, column in enumerate(columns) if column.folds and widths[index] > NARROWEST]
        if not giving:
            return None
        widest = max(giving, key=lambda index: widths[index])
        others = [widths[index] for index in giving if widths[index] < widths[widest]]
        step = min(excess, widths[widest] - max([NARROWEST, *others]) or 1)
        widths[widest] -= step
        excess -= step
    return widths


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for row in rows:
        cells = [
            fold(cell, width) if column.folds else [cell]
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        for index in range(max(len(cell) for cell in cells)):
            yield _joined([cell[index] if index < len(cell) else "" for cell in cells], widths)


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
    return GAP.join(padded).rstrip()


def _paragraphs(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """`heading  value` for each; an empty value is left out."""
    margin = max(cell_len(column.heading) for column in columns) + len(GAP)
    room = max(width - margin, NARROWEST)
    for number, row in enumerate(rows):
        if number:
            yield ""
        for column, cell in zip(columns, row, strict=True):
            if not cell:
                continue
            heading = column.heading
            for part in fold(cell, room) if column.folds else [cell]:
                yield heading + " " * (margin - cell_len(heading)) + part
                heading = ""
