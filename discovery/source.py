"""What every source of services is, and what it says.

A source yields whole answers (`SourceSnapshot`) or parts of one (`SourceUpdate`), and tells how it fares. It
knows nothing of the guard, of the last good state or of other sources: `discovery.supervisor` sees to those.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from mesh.events import SourceSnapshot, SourceUpdate


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """The source cannot be read for now; it tries again by itself. What it said last stays in force.

    `reason` is for the operator: what happened, where, and the way out. It never holds a secret.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceRecovered:
    """The source can be read again. Said before the first answer after a `SourceFailed`."""

    source: str


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What is wrong with parts of the last answer, each line for the operator. Replaces the report before it.

    `errors`: documents or an answer that were refused, so that something older stays in force. `warnings`: parts
    left out or doubtful, while the rest is used.
    """

    source: str
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceReset:
    """The registry lost its history (an index that went backwards): what its next snapshot lacks is not believed."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceIncomplete:
    """The next snapshot lacks what these documents held: they cannot be read now, and were not read since the start.

    `files` are what origins begin with, up to their `#`, or, where each document is by itself, what they end with: `<kind> <key>`.
    What the mesh was told of them before stays in force.
    """

    source: str
    files: frozenset[str]


SourceEvent = (
    SourceSnapshot
    | SourceUpdate
    | SourceFailed
    | SourceRecovered
    | SourceReset
    | SourceIncomplete
    | SourceReport
)


class Source(Protocol):
    """One registry or directory. `name` is unique among the sources of a control plane."""

    @property
    def name(self) -> str: ...

    @property
    def guarded(self) -> bool:
        """Whether a sudden mass removal by this source is held (see `discovery.guard`)."""
        ...

    def events(self) -> AsyncIterator[SourceEvent]:
        """Everything from the start: first a `SourceSnapshot`, then what changes.

        Called again, by the supervisor, after it has raised or ended; it then starts over. Closing the iterator
        (`aclose`) or cancelling the task that reads it frees all that it holds.
        """
        ...
