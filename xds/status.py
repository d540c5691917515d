"""What is known of each client, for operators and for CSDS."""

from __future__ import annotations

from dataclasses import dataclass

from xds.state import Refusal


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type at one client. `subscribed` counts names, or is None for everything; `held` what the client was told of. `pending`: some
    of the names that are not acknowledged yet; `held_back`: names that it refused as they are. `late`: a response is not
    answered for longer than the ACK time limit.
    """

    type_url: str
    subscribed: int | None
    responses: int
    acknowledged: int
    version: str
    acknowledged_version: str
    in_sync: bool
    pending: tuple[str, ...]
    held_back: tuple[str, ...]
    late: bool
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """One stream. `waiting`: its scopes are not ready, so it was not answered yet. Times are of the server's clock, in seconds."""

    id: str
    node_id: str
    peer: str
    agent: str
    protocol: str
    connected_at: float
    waiting: bool
    types: tuple[TypeStatus, ...]
