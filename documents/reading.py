"""YAML as documents use it: a small, unsurprising part of it, read from libyaml's events in one pass.

What is different from a common YAML loader, and why:

- A document has at most 1 MiB and 64 levels. Documents are told apart by their `---` lines before anything is
  parsed, so nonsense is refused at the cost of looking for line starts.
- Aliases, anchors and tags are refused: a few lines of aliases can mean gigabytes.
- A key given twice is refused: common loaders silently take the last.
- Plain scalars follow the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema) without its octal and
  special floats: `no`, `on`, `2024-01-01` and `1:30` are text. Keys are always text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from documents.errors import DocumentError, Malformed, Unreadable, Where

MAX_DOCUMENT = 1 << 20
"""Bytes of one document."""
MAX_FILE = 8 << 20
"""Bytes of one file, all its documents together."""
MAX_DEPTH = 64

Path = tuple[str | int, ...]
"""Keys and indices that lead from the root of a document to a value in it."""
Tree = dict[str, "Tree"] | list["Tree"] | str | int | float | bool | None

# A `---` or `...` at the start of a line always ends a document, also inside a scalar (YAML 1.2.2, 9.1.2).
MARKER = re.compile(rb"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}|[0-9]{1,18}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?"
)
CONSTANTS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one document, and the line of the file (from 1) that it begins on."""

    line: int
    data: bytes

    def tree(self) -> Tree:
        """What the document says. Raises Refusal."""
        return _tree(self)

    def lines(self) -> Lines:
        """Where its values stand. Reads the document again, which has been read without a Refusal."""
        return _lines(self)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of the values of a document, by path; `first` is that of the document itself."""

    first: int
    by_path: Mapping[Path, int]

    def of(self, path: Path) -> int:
        """The line of the value at `path`, or of the nearest thing around it."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return next((self.by_path[each] for each in around if each in self.by_path), self.first)


class Refusal(Exception):
    """Why a document cannot be read; becomes a Malformed once the file and the number of the document are known."""

    def __init__(self, reason: str, remedy: str, line: int, path: Path = ()) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.line, self.path = reason, remedy, line, path


def pieces(file: str, data: bytes) -> Iterator[Piece | DocumentError]:
    """The documents of a file, in order, empty ones left out; an error in place of one too large to be read."""
    problem = _unreadable(data)
    if problem is not None:
        yield Unreadable(Where(file), *problem)
        return
    data = data.removeprefix(b"\xef\xbb\xbf")
    start, line, number = 0, 1, 0
    markers = [(marker.start(), marker.end()) for marker in MARKER.finditer(data)]
    for end, after in (*markers, (len(data), len(data))):
        piece = Piece(line, data[start:end])
        if _says_something(piece.data):
            number += 1
            if len(piece.data) > MAX_DOCUMENT:
                yield Malformed(
                    Where(file, number, line=line),
                    f"the document has {len(piece.data):,} bytes; at most 1 MiB is read",
                    "Split it, or move what is not configuration elsewhere",
                )
            else:
                yield piece
        # Content may stand on the line of a `---`, so that marker belongs to its document; a `...` does not.
        following = end if data[end : end + 1] == b"-" else after
        line += data.count(b"\n", start, following)
        start = following


def show(path: Path) -> str:
    """`("spec", "ports", 0, "port")` as `spec.ports[0].port`."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            shown += f".{step}" if shown else step
    return shown


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that `word` probably means, if any."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)


def _unreadable(data: bytes) -> tuple[str, str] | None:
    if len(data) > MAX_FILE:
        return too_large(len(data))
    if b"\0" in data:
        return "the file is binary or UTF-16: it has NUL bytes", "Save it as UTF-8 text"
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} of the file is not UTF-8", "Save it as UTF-8 text"
    return None


def too_large(size: int) -> tuple[str, str]:
    """The reason and the remedy for a file of `size` bytes."""
    return (
        f"the file has {size:,} bytes; at most {MAX_FILE >> 20} MiB are read, and 1 MiB of one document",
        "Split it, or move what is not configuration elsewhere",
    )


def _says_something(data: bytes) -> bool:
    """Whether there is more than blank lines and comments."""
    lines = (line.strip() for line in data.removeprefix(b"---").splitlines())
    return any(line and not line.startswith(b"#") for line in lines)


def _line(mark: Any) -> int:
    """The line of a mark of yaml's, from 0; libyaml leaves some marks out."""
    return int(mark.line) if mark is not None else 0


def _events(piece: Piece) -> Iterator[tuple[Any, int]]:
    """The events of libyaml with their lines, less those that only frame. Aliases, anchors and tags are refused."""
    started = False
    try:
        for event in yaml.parse(piece.data, Loader=yaml.CSafeLoader):
            line = piece.line + _line(event.start_mark)
            match event:
                case yaml.ScalarEvent() | yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    if event.anchor is not None:
                        raise Refusal(
                            f"the anchor &{event.anchor} is not allowed", "Write the value out", line
                        )
                    if event.tag is not None:
                        raise Refusal(
                            f"the tag {event.tag} is not allowed", "Remove it; text goes in quotes", line
                        )
                    yield event, line
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    yield event, line
                case yaml.AliasEvent():
                    raise Refusal(f"the alias *{event.anchor} is not allowed", "Write the value out", line)
                case yaml.DocumentStartEvent():
                    if event.version or event.tags:
                        raise Refusal("a %YAML or %TAG directive is not allowed", "Remove the line", line)
                    if started:
                        raise Refusal("a second document begins here", "Put a line --- before it", line)
                    started = True
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        line = piece.line + _line(at)
        raise Refusal(
            f"not YAML: {error.problem or error}", "Correct the syntax on or before this line", line
        ) from error
    except yaml.YAMLError as error:  # A character that YAML does not allow.
        raise Refusal(
            f"not YAML: {' '.join(str(error).split())}", "Save it as plain UTF-8 text", piece.line
        ) from error


def _tree(piece: Piece) -> Tree:
    """Without recursion, so that depth is bounded by us and not by the interpreter."""
    root: list[Tree] = []
    holder: dict[str, Tree] | list[Tree] = root
    key: str | None = None
    above: list[tuple[dict[str, Tree] | list[Tree], str | None]] = []
    for event, line in _events(piece):
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            holder, _ = above.pop()
            key = None
            continue
        scalar = isinstance(event, yaml.ScalarEvent)
        if key is None and isinstance(holder, dict):
            if not scalar:
                raise Refusal(
                    "a key must be plain text", "Put the key in quotes", line, _path(above, holder, None)
                )
            key = str(event.value)
            if key in holder:
                path = _path(above, holder, key)
                raise Refusal(f"the key {key!r} is given twice", "Keep one of the two", line, path)
            continue
        value: Tree
        if scalar:
            value = _resolved(event.value) if event.implicit[0] else event.value
        else:
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
        if isinstance(holder, list):
            holder.append(value)
        elif key is not None:
            holder[key] = value
        if isinstance(value, dict | list):
            if len(above) >= MAX_DEPTH:
                path = _path(above, holder, key)[:3]
                raise Refusal(f"nested more than {MAX_DEPTH} levels deep", "Flatten it", line, path)
            above.append((holder, key))
            holder = value
        key = None
    return root[0] if root else None


def _path(above: list[tuple[Any, str | None]], holder: Any, key: str | None) -> Path:
    """The path to what is being read: the keys of the mappings around it, the places in the lists."""
    steps: list[str | int] = []
    for outer, its_key in (*above[1:], (holder, key)):
        if its_key is not None:
            steps.append(its_key)
        elif isinstance(outer, list):
            steps.append(max(0, len(outer) - 1))
    return tuple(steps)


def _resolved(text: str) -> Tree:
    if text in CONSTANTS:
        return CONSTANTS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    return text


def _lines(piece: Piece) -> Lines:
    found: dict[Path, int] = {}
    # For each container around: the step (key or index) that leads to what comes next, and whether it is a mapping.
    around: list[list[Any]] = []
    for event, line in _events(piece):
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            around.pop()
            continue
        if around:
            here = around[-1]
            if here[1] and here[2]:  # a mapping that awaits a key
                here[0], here[2] = event.value, False
                found.setdefault(tuple(step for step, _, _ in around), line)
                continue
            here[2] = True
            if not here[1]:
                here[0] += 1
        found.setdefault(tuple(step for step, _, _ in around), line)
        if not isinstance(event, yaml.ScalarEvent):
            mapping = isinstance(event, yaml.MappingStartEvent)
            around.append([None if mapping else -1, mapping, True])
    return Lines(piece.line, found)
