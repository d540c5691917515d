"""Virtual addresses: which services claim each, and who of several has it.

An address stands for one service. Who is second to claim it has none, and keeps all else: its host names lead to it by
explicit ports, and a status line names both. Nothing is probed around, so that all replicas agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from immutables import Map

from mesh.names import Key
from mesh.service import Service

if TYPE_CHECKING:
    from mesh.state import MeshState

Claims = Map[str, tuple[Key, ...]]
"""The services that claim each address, sorted."""


def claimed(
    claims: Claims, old: Map[Key, Service], new: Map[Key, Service], changed: Iterable[Key]
) -> tuple[Claims, frozenset[Key]]:
    """`claims` after the services of the keys `changed`, and the others whose address may now be theirs, or no longer."""
    concerned: set[Key] = set()
    for key in changed:
        was, now = old.get(key), new.get(key)
        before = was.virtual_address if was else None
        after = now.virtual_address if now else None
        if before == after:
            continue
        if before is not None:
            left = tuple(each for each in claims[before] if each != key)
            claims = claims.set(before, left) if left else claims.delete(before)
            concerned.update(left)
        if after is not None:
            there = claims.get(after, ())
            claims = claims.set(after, tuple(sorted((*there, key))))
            concerned.update(there)
    return claims, frozenset(concerned)


def address_of(state: MeshState, service: Key) -> str | None:
    """The virtual address of `service`; None if another has it."""
    address = state.services[service].virtual_address
    claimants = state.addresses[address]
    return address if len(claimants) == 1 or _holder(state, claimants) == service else None


def collisions(state: MeshState) -> Iterator[str]:
    """A line for each service that has no virtual address since another has it."""
    for address, claimants in state.addresses.items():
        if len(claimants) > 1:
            holder = _holder(state, claimants)
            for each in claimants:
                if each != holder:
                    yield (
                        f"service {each} has no virtual address: services {holder} and {each} both have {address}, "
                        "which stands for one. Set spec.address of one of them"
                    )


def _holder(state: MeshState, claimants: tuple[Key, ...]) -> Key:
    """That of the source which is ranked first; of one source's, the first by namespace and name."""
    ranked = {source: place for place, source in enumerate(state.ranked())}
    return min(claimants, key=lambda each: (ranked.get(state.owner(each) or "", len(ranked)), each))
