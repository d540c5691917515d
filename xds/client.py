"""Who is at the other end of a stream."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a connection is with: gRPC's name of it, and what TLS proved (empty in plaintext)."""

    address: str
    auth: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Client:
    """A stream, identified: `id` for status and `rescope`, `scopes` for what it is given. A name is looked up in them in order.

    `proof` is whatever identified it: kept with the stream, for its owner to judge again later.
    """

    id: str
    scopes: tuple[Hashable, ...]
    proof: object = None


def peer_of(context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
    auth = context.auth_context() or {}
    return Peer(context.peer(), {name: tuple(values) for name, values in auth.items()})
