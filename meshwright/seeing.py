"""Which scopes see a service: a change of one is the business of those, and costs nothing where it is none's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.names import Key
from meshwright.scopes import Captured, Outbound, Peers, Proxyless, Scope


class Seeing:
    """An index of the scopes in use, in the order in which they came."""

    def __init__(self) -> None:
        self._all: dict[Scope, None] = {}
        self._some: dict[Key, dict[Scope, None]] = {}

    def add(self, scope: Scope) -> None:
        services = _services(scope)
        if services is None:
            self._all[scope] = None
        else:
            for key in services:
                self._some.setdefault(key, {})[scope] = None

    def remove(self, scope: Scope) -> None:
        self._all.pop(scope, None)
        for key in _services(scope) or ():
            seeing = self._some.get(key, {})
            seeing.pop(scope, None)
            if not seeing:
                self._some.pop(key, None)

    def of(self, services: Iterable[Key]) -> Iterator[tuple[Scope, frozenset[Key]]]:
        """The scopes that see one of `services`, and which of them."""
        touched = frozenset(services)
        if not touched:
            return
        for scope in tuple(self._all):
            yield scope, touched
        concerned: dict[Scope, list[Key]] = {}
        for key in sorted(touched):
            for scope in self._some.get(key, ()):
                concerned.setdefault(scope, []).append(key)
        for scope, keys in concerned.items():
            yield scope, frozenset(keys)


def _services(scope: Scope) -> tuple[Key, ...] | None:
    """None: all that there are."""
    match scope:
        case Outbound(view=view) | Proxyless(view=view):
            return view.services
        case Captured(services=services):
            return services
        case Peers(service=service):
            return () if service is None else (service,)
        case _:
            return ()
