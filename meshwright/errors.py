"""What can go wrong in the program itself, and the exit code that each has on the command line.

MeshwrightError
├── SettingsError         a setting is missing or wrong
├── UsageError            a command was given what it cannot do
├── UnreachableError      the control plane does not answer
├── RefusedError          the control plane answers, and says no
│   ├── ConflictError     somebody else changed it meanwhile, or owns the field
│   ├── NotFoundError     there is no such thing
│   └── ForbiddenError    whoever asks may not
├── LateError             it was done, but not in time: not everybody has acknowledged it
└── DemoError             the demo did not come up, or its check failed
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar


class ExitCode(IntEnum):
    """What `meshwright` exits with; docs/cli.md has the same list."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFLICT = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    FORBIDDEN = 6
    LATE = 7


class MeshwrightError(Exception):
    """Base. `str()` says what happened and what to do; the command line prints it and exits with `exit_code`."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


class SettingsError(MeshwrightError):
    pass


class UsageError(MeshwrightError):
    exit_code = ExitCode.USAGE


class UnreachableError(MeshwrightError):
    exit_code = ExitCode.UNREACHABLE


class RefusedError(MeshwrightError):
    """`problem` is what the API answered (RFC 9457), where it did."""

    def __init__(self, said: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(said)
        self.problem = problem


class ConflictError(RefusedError):
    exit_code = ExitCode.CONFLICT


class NotFoundError(RefusedError):
    exit_code = ExitCode.NOT_FOUND


class ForbiddenError(RefusedError):
    exit_code = ExitCode.FORBIDDEN


class LateError(MeshwrightError):
    exit_code = ExitCode.LATE


class DemoError(MeshwrightError):
    pass
