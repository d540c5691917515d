"""The command line as a person drives it: in a terminal, whose screen is read; and as a script does: through a pipe."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from unittest import mock

import pexpect
import pyte

from meshwright.cli import main
from tests.support.processes import PATIENCE, meshwright

ROWS = 200
"""So many that nothing scrolls away."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed through a pipe."""

    out: str
    err: str
    code: int


@dataclass(frozen=True, slots=True)
class Screen:
    """What stands on a terminal: its lines without trailing blanks; `colours`: those of the text, besides the default."""

    lines: tuple[str, ...]
    colours: frozenset[str] = field(default=frozenset())
    code: int | None = None

    def __str__(self) -> str:
        return "".join(f"{each}\n" for each in self.lines)

    def __contains__(self, text: str) -> bool:
        return text in str(self)


class Terminal:
    """A program in a terminal of `columns`: an executable and its arguments. A context manager; it ends with its block."""

    def __init__(
        self,
        *command: str,
        columns: int = 100,
        rows: int = ROWS,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        environment = {**os.environ, "TERM": "xterm-256color", **(env or {})}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        self._child: pexpect.spawn[bytes] = pexpect.spawn(
            command[0],
            list(command[1:]),
            dimensions=(rows, columns),
            env=environment,
            cwd=cwd,
            timeout=PATIENCE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close(force=True)

    def type(self, text: str) -> None:
        self._child.send(text)

    def wait_for(self, text: str) -> Screen:
        """Until `text` stands on the screen."""
        end = time.monotonic() + PATIENCE
        while text not in (shown := self.screen()):
            assert time.monotonic() < end, f"{text!r} did not come:\n{shown}"
            if not self.read(0.2) and not self._child.isalive():
                self.read(0.0)
                assert text in self.screen(), f"it ended, and {text!r} had not come:\n{self.screen()}"
        return self.screen()

    def end(self) -> Screen:
        """Until the program has ended."""
        while self.read(PATIENCE):
            pass
        self._child.close()
        code = self._child.exitstatus
        return Screen(self.screen().lines, self.screen().colours, code if code is not None else -1)

    def screen(self) -> Screen:
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        colours = {
            cell.fg
            for row in self._screen.buffer.values()
            for cell in row.values()
            if cell.fg != "default" and cell.data.strip()
        }
        return Screen(tuple(lines), frozenset(colours))

    def read(self, patience: float) -> bool:
        """Whether something came."""
        try:
            self._stream.feed(self._child.read_nonblocking(65536, timeout=patience))
        except pexpect.TIMEOUT:
            return False
        except pexpect.EOF:
            return False
        return True


def on_screen(*arguments: str, columns: int = 100, env: Mapping[str, str] | None = None) -> Screen:
    """`meshwright ARGUMENTS` in a terminal, to its end."""
    with Terminal(*meshwright(*arguments), columns=columns, env=env) as terminal:
        return terminal.end()


def through_pipe(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
    """`meshwright ARGUMENTS` in this process, which is quick. Its output is no terminal. For tests that are no coroutines."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    code: object = 0
    with _as(given, out, err, arguments, env or {}):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return Ran(out.getvalue(), err.getvalue(), code if isinstance(code, int) else 0 if code is None else 1)


@contextlib.contextmanager
def _as(
    stdin: io.TextIOWrapper,
    out: io.StringIO,
    err: io.StringIO,
    arguments: tuple[str, ...],
    env: Mapping[str, str],
) -> Iterator[None]:
    with (
        mock.patch.object(sys, "argv", ["meshwright", *arguments]),
        mock.patch.object(sys, "stdin", stdin),
        mock.patch.dict(os.environ, env),
        mock.patch("resource.setrlimit"),  # this process may go on writing cores
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        yield
