"""What is not sent, or is left out, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mesh.names import Key
from meshwright.scopes import Scope

Value = TypeVar("Value")
Holder = Scope | str
"""Who would have been given it: all that have a scope, or one client, by its id."""


class Problems:
    """By who holds them: what succeeds for one takes nothing back of what is told of another, and what nobody has any more is forgotten."""

    def __init__(self) -> None:
        self._refused: dict[Holder, dict[str, str]] = {}
        self._left_out: dict[Holder, dict[str, dict[str, str]]] = {}

    @property
    def refused(self) -> dict[str, str]:
        """By subject: what is not sent at all, so that what was sent before stays in force."""
        return {subject: why for of in self._refused.values() for subject, why in of.items()}

    @property
    def left_out(self) -> dict[str, str]:
        """By subject and name: what is left out of something that is sent."""
        return {
            name: why for of in self._left_out.values() for each in of.values() for name, why in each.items()
        }

    def refuse(self, holder: Holder, subject: str, why: str) -> None:
        self._refused.setdefault(holder, {})[subject] = why

    def leave_out(self, holder: Holder, subject: str, what: Mapping[str, str]) -> None:
        """`what` of `subject`, instead of what was left out of it before; nothing, if that is empty."""
        if what:
            self._left_out.setdefault(holder, {})[subject] = dict(what)
        else:
            _drop(self._left_out, holder, subject)

    def mended(self, holder: Holder, subject: str) -> None:
        """`subject` is sent again."""
        _drop(self._refused, holder, subject)

    def gone(self, holder: Holder, subject: str) -> None:
        """There is no such subject any more."""
        _drop(self._refused, holder, subject)
        _drop(self._left_out, holder, subject)

    def forget(self, holder: Holder) -> None:
        """All that concerns `holder`."""
        self._refused.pop(holder, None)
        self._left_out.pop(holder, None)


def _drop(told: dict[Holder, dict[str, Value]], holder: Holder, subject: str) -> None:
    if told and (of := told.get(holder)) is not None:
        of.pop(subject, None)
        if not of:
            del told[holder]


def of_workload(key: Key) -> str:
    """The subject of what is wrong with all that a workload is given."""
    return f"workload {key}"
