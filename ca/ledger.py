"""The ledger of issued leaves: who holds one that is still good, of which generation, and which roots its holder has.

In memory and sans-I/O: every change is an `Entry`, which the caller's `journal` keeps (`ca.ledger_file`), and which replays to
the same ledger. What is not certain is counted against going on: a leaf leaves the ledger when it ends, or when its holder was
seen to use one that came after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeAlias

from ca.rotation import Holder, Leaf, RootId, acknowledged, restricted

MOST: Final = 32
"""Leaves of one workload and kind of holder that are told apart. Whoever joins in a loop does not fill the memory."""
UNKNOWN_GENERATION: Final = 0
"""Of a leaf that stands for several: none that signs."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Issued:
    leaf: Leaf


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The holder of the leaf uses it: those of its family that came before are of no use to it any more. One that came after may be on its way."""

    confirmed: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The holders of the family's leaves use `roots`; `bundle` was the present one."""

    family: str
    roots: frozenset[RootId]
    bundle: tuple[RootId, ...]


@dataclass(frozen=True, slots=True)
class Restricted:
    """From now on `bundle` may be on its way to everybody."""

    restricted: tuple[RootId, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An operator's word that the holders of this workload's leaves are gone for good."""

    forgotten: str


Entry: TypeAlias = Issued | Confirmed | Acknowledged | Restricted | Forgotten


class Ledger:
    """Use it from one thread. `journal` is called with each change, before whoever made it goes on; it must not block."""

    def __init__(self, entries: Iterable[Entry] = (), journal: Callable[[Entry], None] | None = None) -> None:
        self._leaves: dict[int, Leaf] = {}
        # A restriction of all is remembered, and applied to a leaf when that is asked for: `_applied` says how many are in it.
        self._restrictions: list[tuple[RootId, ...]] = []
        self._applied: dict[int, int] = {}
        self._next_end = _NEVER
        self.changes = 0
        """Grows with each change: whoever looked in parts learns whether it has seen one state."""
        self._families: dict[str, dict[int, None]] = {}  # in the order in which they were issued
        self._workloads: dict[tuple[str, Holder], set[int]] = {}
        self._journal: Callable[[Entry], None] = lambda _: None
        for entry in entries:
            self._apply(entry)
        if journal is not None:
            self._journal = journal

    def __len__(self) -> int:
        return len(self._leaves)

    def leaves(self) -> tuple[Leaf, ...]:
        return tuple(map(self._present, self._leaves))

    def serials(self) -> tuple[int, ...]:
        """For `find`, by which many leaves can be looked at a few at a time."""
        return tuple(self._leaves)

    def find(self, serial: int) -> Leaf | None:
        return self._present(serial) if serial in self._leaves else None

    def issued(self, leaf: Leaf) -> None:
        """`leaf` is about to be handed out."""
        self._do(Issued(leaf))

    def confirmed(self, serial: int) -> None:
        """Its holder has shown that it uses the leaf `serial`; nothing if that is not in the ledger."""
        leaf = self._leaves.get(serial)
        if leaf is not None and next(iter(self._families[leaf.family])) != serial:
            self._do(Confirmed(serial))

    def acknowledged(self, family: str, roots: frozenset[RootId], bundle: tuple[RootId, ...]) -> None:
        """The holder of the leaves of `family` has taken all that was sent to it, and uses `roots`."""
        leaves = map(self._present, self._families.get(family, ()))
        if any(acknowledged(leaf, roots, bundle) != leaf for leaf in leaves):
            self._do(Acknowledged(family, roots, bundle))

    def restricted(self, bundle: tuple[RootId, ...]) -> None:
        """To be called before `bundle` is sent to anybody. Its cost does not grow with the number of leaves."""
        self._do(Restricted(bundle))

    def forget(self, workload: str) -> int:
        """Count no more on the holders of the leaves of `workload`; how many leaves that were."""
        number = sum(leaf.workload == workload for leaf in self._leaves.values())
        if number:
            self._do(Forgotten(workload))
        return number

    def expire(self, now: datetime) -> None:
        """Forget the leaves that have ended. A replay brings them back, and the next call takes them out again."""
        if now < self._next_end:
            return
        for leaf in [leaf for leaf in self._leaves.values() if leaf.not_after <= now]:
            self._remove(leaf)
        self._next_end = min((leaf.not_after for leaf in self._leaves.values()), default=_NEVER)
        self.changes += 1

    def _do(self, entry: Entry) -> None:
        self.changes += 1
        self._apply(entry)
        self._journal(entry)

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Issued(leaf):
                self._add(leaf)
            case Confirmed(serial):
                leaf_in_use = self._leaves.get(serial)
                if leaf_in_use is not None:
                    for other in tuple(self._families[leaf_in_use.family]):
                        if other == serial:
                            break
                        self._remove(self._leaves[other])
            case Acknowledged(family, roots, bundle):
                for serial in self._families.get(family, ()):
                    self._put(acknowledged(self._leaves[serial], roots, bundle))
            case Restricted(bundle):
                self._restrictions.append(bundle)
            case Forgotten(workload):
                for leaf in [leaf for leaf in self._leaves.values() if leaf.workload == workload]:
                    self._remove(leaf)

    def _put(self, leaf: Leaf) -> None:
        self._leaves[leaf.serial], self._applied[leaf.serial] = leaf, len(self._restrictions)

    def _present(self, serial: int) -> Leaf:
        leaf, applied = self._leaves[serial], self._applied[serial]
        if applied < len(self._restrictions):
            for bundle in self._restrictions[applied:]:
                leaf = restricted(leaf, bundle)
            self._put(leaf)
        return leaf

    def _add(self, leaf: Leaf) -> None:
        self._put(leaf)
        self._next_end = min(self._next_end, leaf.not_after)
        self._families.setdefault(leaf.family, {})[leaf.serial] = None
        members = self._workloads.setdefault((leaf.workload, leaf.holder), set())
        members.add(leaf.serial)
        if len(members) > MOST:
            first, second = sorted(map(self._present, members), key=_by_end)[:2]
            self._remove(first)
            self._remove(second)
            self._add(_merged(first, second))

    def _remove(self, leaf: Leaf) -> None:
        del self._leaves[leaf.serial], self._applied[leaf.serial]
        family, members = self._families[leaf.family], self._workloads[leaf.workload, leaf.holder]
        del family[leaf.serial]
        members.discard(leaf.serial)
        if not family:
            del self._families[leaf.family]
        if not members:
            del self._workloads[leaf.workload, leaf.holder]


def _by_end(leaf: Leaf) -> tuple[datetime, int]:
    return leaf.not_after, leaf.serial


def _merged(first: Leaf, second: Leaf) -> Leaf:
    """One that stands for both, whichever of them is in use: `second` ends later. Nothing but its end takes it out."""
    return replace(
        second,
        family=f"merged/{second.serial:x}",
        generation=second.generation if first.generation == second.generation else UNKNOWN_GENERATION,
        held=first.held & second.held,
        settled=first.settled and second.settled,
        trust_domain=second.trust_domain if first.trust_domain == second.trust_domain else "",
    )
