"""Whom a plan is made for: the clients that are connected, or those that there would be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.names import Key
from mesh.state import MeshState
from meshwright.editions import NOTHING, Overlay
from meshwright.scopes import Scope
from xds.cache import Subscription


@dataclass(frozen=True, slots=True)
class Member:
    """A client. `scopes` and `at_once`: what it is given now (see `publisher.Attached`), of the edition with that `overlay`; no scopes: it
    would come anew. `wants`: by type, what its streams subscribe to; None: not known, so all that it is offered counts.
    """

    workload: Key
    proved: bool = True
    proxyless: bool = False
    scopes: tuple[Scope, ...] = ()
    at_once: frozenset[str] | None = None
    overlay: Overlay = NOTHING
    wants: Mapping[str, tuple[Subscription, ...]] | None = None


Fleet = tuple[Member, ...]


def declared(state: MeshState) -> Fleet:
    """The sidecars and gateways that `state` speaks of, as if each were connected and had proved who it is."""
    return tuple(_meshed(state))


def _meshed(state: MeshState) -> Iterator[Member]:
    for key, workload in sorted(state.workloads.items()):
        if workload.meshed or workload.gateway is not None:
            yield Member(key)
