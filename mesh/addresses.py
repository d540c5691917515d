"""Virtual addresses: which services claim each, and who of several has it.

An address stands for one service. Who is second to claim it has none, and keeps all else: its host names lead to it by
explicit ports, and a status line names both. Nothing is probed around, so that all replicas agree.

What a cluster has given to a Service of its own is that Service's, whatever the rank of others: whoever may write a document in some
namespace would have everybody's calls to it otherwise.
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
"""The services that claim each address, sorted; those to which it is reserved are among them, whatever their virtual address is."""


def claimed(
    claims: Claims, old: Map[Key, Service], new: Map[Key, Service], changed: Iterable[Key]
) -> tuple[Claims, frozenset[Key]]:
    """`claims` after the services of the keys `changed`, and the others whose address may now be theirs, or no longer."""
    concerned: set[Key] = set()
    for key in changed:
        before, after = _claimed_by(old.get(key)), _claimed_by(new.get(key))
        for address in sorted(before.keys() | after.keys()):
            if before.get(address) == after.get(address):
                continue
            others = tuple(each for each in claims.get(address, ()) if each != key)
            there = tuple(sorted((*others, key))) if address in after else others
            claims = claims.set(address, there) if there else claims.delete(address)
            concerned.update(others)
    return claims, frozenset(concerned)


def _claimed_by(service: Service | None) -> dict[str, bool]:
    """Its addresses, and whether each is reserved to it."""
    if service is None:
        return {}
    return {service.virtual_address: False} | dict.fromkeys(service.reserved, True)


def address_of(state: MeshState, service: Key) -> str | None:
    """The virtual address of `service`; None if another has it."""
    address = state.services[service].virtual_address
    claimants = state.addresses[address]
    return address if len(claimants) == 1 or _holder(state, address, claimants) == service else None


def reserved_to(state: MeshState, address: str, claimant: Key) -> Key | None:
    """Whose `address` is by its cluster, so that the service `claimant` cannot have it; None: it can, as far as clusters are asked."""
    holders = [each for each in state.addresses.get(address, ()) if address in state.services[each].reserved]
    return None if claimant in holders else min(holders, default=None)


def collisions(state: MeshState) -> Iterator[str]:
    """A line for each service that has no virtual address since another has it."""
    for address, claimants in state.addresses.items():
        if len(claimants) > 1:
            holder = _holder(state, address, claimants)
            for each in claimants:
                if each == holder or state.services[each].virtual_address != address:
                    continue
                if (owner := reserved_to(state, address, each)) is not None:
                    yield f"service {each} has no virtual address: {taken(address, owner)}"
                else:
                    yield (
                        f"service {each} has no virtual address: services {holder} and {each} both have {address}, "
                        "which stands for one. Set spec.address of one of them"
                    )


def taken(address: str, holder: Key) -> str:
    """Why a service cannot have what is reserved to `holder`, and the way out."""
    return (
        f"{address} is an address that its cluster has given to Service {holder}, which keeps it. "
        "Give another spec.address, or none"
    )


def _holder(state: MeshState, address: str, claimants: tuple[Key, ...]) -> Key:
    """Whom it is reserved to, if anybody; else that of the source which is ranked first; of one source's, the first by namespace and name."""
    ranked = {source: place for place, source in enumerate(state.ranked())}
    reserving = [each for each in claimants if address in state.services[each].reserved]
    return min(
        reserving or claimants, key=lambda each: (ranked.get(state.owner(each) or "", len(ranked)), each)
    )
