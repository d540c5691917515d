"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshwright.analysis.sight import Sight


class Severity(StrEnum):
    """ERROR: requests fail, or soon will. WARNING: something that was written does not do what it says. INFO: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


RANK: Mapping[Severity, int] = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a check holds. `subject`: what it is about, as `HTTPRoute default/api`; `origin`: the documents and sources that say so."""

    subject: str
    message: str
    origin: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """Documents beside those of the example mesh (which they replace, name by name), and what the control plane shows, where it matters.

    `second`: documents of another source. `live`: fields of the status, of which a list has its one entry changed so.
    """

    documents: str = ""
    second: str = ""
    live: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """`code` is never given to another. `cure`: what to do about it. `bad` shows it, `good` does not."""

    code: str
    title: str
    severity: Severity
    why: str
    cure: str
    look: Callable[[Sight], Iterator[Found]]
    bad: Example
    good: Example


@dataclass(frozen=True, slots=True)
class Finding:
    check: Check
    found: Found
