"""What `meshwright ca status` shows: the shape of its JSON. Times are ISO 8601 in UTC."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.shapes.shape import Shape


class Lagging(Shape):
    """Whose leaf is waited for. `holder`: agent, envoy or unrecorded. `lacks`: what it is waited for. `until`: when its last leaf ends,
    and the waiting with it. `connected`: whether it is here now. `note`: what is known besides, such as a refusal.
    """

    workload: str
    holder: str
    lacks: str
    since: str
    until: str
    connected: bool
    note: str


class RootStatus(Shape):
    """A root that is trusted now. `signs`: what is issued now is issued under it."""

    sha256: str
    not_after: str
    signs: bool


class MoveWaits(Shape):
    """Whom a move to another trust domain waits for. `connected`: whether it is here now. `lacks`: what it is waited for."""

    workload: str
    connected: bool
    lacks: str


class AliasStatus(Shape):
    """`certificates` that are good name it. `keeps`: why it is not to be taken out yet; empty if it may be. `next`: whether it may be made the
    trust domain.
    """

    name: str
    certificates: int
    keeps: str
    next: bool


class MoveStatus(Shape):
    """The trust domain, and its aliases while the mesh moves. `heard`: every proxy goes by them. `waits_for` is cut; `waits_for_in_all` is not."""

    trust_domain: str
    aliases: tuple[AliasStatus, ...]
    heard: bool
    waits_for: tuple[MoveWaits, ...]
    waits_for_in_all: int


class CaStatus(Shape):
    """`stage`: stable, trusting, signing or retiring, `since` when. `awaits_operator`: it goes on after `meshwright ca proceed`.

    `leaves`: how many certificates of workloads are good now. `lagging` is cut; `lagging_in_all` is not. `move`: to another trust domain, if
    the mesh is on its way.
    """

    stage: str
    aborting: bool
    since: str
    generation: int
    roots: tuple[RootStatus, ...]
    intermediate_not_after: str
    leaves: int
    awaits_operator: bool
    lagging_in_all: int
    lagging: tuple[Lagging, ...]
    warnings: tuple[str, ...]
    move: MoveStatus | None = None


class Rotation(Shape):
    """`what`: the root, with all that hangs from it, or only the intermediate."""

    what: Literal["root", "intermediate"] = "root"
    by_hand: bool = Field(default=False, description="Wait for `proceed` before each step.")


class Forgetting(Shape):
    even_if_connected: bool = Field(default=False, description="End its streams, and wait for it no more.")
