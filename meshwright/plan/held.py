"""What the scopes of a publisher hold because of what it said, and what they held before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from meshwright.scopes import Scope
from xds.cache import ScopeChange
from xds.resource import Name, Resource

Difference = tuple[Resource | None, Resource | None]
"""A resource before and after; None: it is not there. Of two that are there, the versions differ."""


class Held:
    """Takes what `publish` of the cache would be given. `mark` says from when on changes count."""

    def __init__(self) -> None:
        self._now: dict[Scope, dict[Name, Resource]] = {}
        self._was: dict[Scope, dict[Name, Resource | None]] = {}

    def mark(self) -> None:
        self._was = {}

    def take(self, changes: Iterable[ScopeChange]) -> None:
        for change in changes:
            scope = cast("Scope", change.scope)  # a publisher's are
            was = self._was.setdefault(scope, {})
            if change.like is not None and scope not in self._now:
                self._now[scope] = dict(self.now(cast("Scope", change.like)))
                was.update(dict.fromkeys(self._now[scope]))
            now = self._now.setdefault(scope, {})
            put = {(each.type_url, each.name): each for each in change.put}
            gone = (
                [name for name in now if name not in put] if change.replace or change.drop else change.removed
            )
            for name in gone:
                if name in now:
                    was.setdefault(name, now.pop(name))
            for name, each in put.items():
                was.setdefault(name, now.get(name))
                now[name] = each

    def now(self, scope: Scope) -> Mapping[Name, Resource]:
        return self._now.get(scope, {})

    def before(self, scope: Scope) -> Mapping[Name, Resource]:
        was = self._was.get(scope, {})
        kept = {name: each for name, each in self.now(scope).items() if name not in was}
        return kept | {name: each for name, each in was.items() if each is not None}

    def differences(self, before: tuple[Scope, ...], after: tuple[Scope, ...]) -> Iterator[Difference]:
        """What differs, since the mark, for a client that had the scopes `before` and has the scopes `after`."""
        same = before == after
        names: set[Name] = set()
        for scope in before:
            names.update(self._was.get(scope, ()) if same else self.before(scope))
        for scope in () if same else after:
            names.update(self.now(scope))
        for name in sorted(names):
            old = next((found for scope in before if (found := self._before(scope, name)) is not None), None)
            new = next((found for scope in after if (found := self.now(scope).get(name)) is not None), None)
            if (old.version if old is not None else None) != (new.version if new is not None else None):
                yield old, new

    def _before(self, scope: Scope, name: Name) -> Resource | None:
        was = self._was.get(scope)
        return was[name] if was is not None and name in was else self.now(scope).get(name)
