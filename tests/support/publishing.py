"""What a publisher is told in one go, and what clients hold because of what it says."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from mesh.events import Changes
from mesh.names import Key
from mesh.state import MeshState
from meshwright.publisher import Publisher, Update
from meshwright.scopes import Seen
from xds.resource import Name


def told(publisher: Publisher, state: MeshState, changes: Changes) -> Update:
    """Both steps of the pipeline at once: `state` differs from the last by `changes`."""
    update = publisher.refresh(state, changes)
    moved = publisher.rescope(state, sorted(publisher.concerned(changes)))
    return Update(update.changes + moved.changes, update.rescoped | moved.rescoped)


class Holding:
    """The resources of workloads whose streams have proved who they are, as the updates of a publisher leave them."""

    def __init__(self) -> None:
        self._contents: dict[Hashable, dict[Name, bytes]] = {}
        self._scopes: dict[Key, tuple[Seen, ...]] = {}

    def attach(self, publisher: Publisher, workload: Key) -> None:
        self._scopes[workload], update = publisher.attach(workload, proved=True, proxyless=False)
        self.take(update)

    def take(self, update: Update) -> None:
        for change in update.changes:
            held = {} if change.replace else self._contents.setdefault(change.scope, {})
            self._contents[change.scope] = held
            for name in change.removed:
                del held[name]
            for each in change.put:
                held[each.type_url, each.name] = each.body
        for workload in self._scopes:
            self._scopes[workload] = update.rescoped.get(str(workload), self._scopes[workload])

    def resources(self) -> Iterator[tuple[Key, Name, bytes]]:
        """Of each workload, what each of its scopes holds."""
        for workload, scopes in self._scopes.items():
            for scope in scopes:
                for name, body in self._contents.get(scope, {}).items():
                    yield workload, name, body
