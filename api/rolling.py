"""What the API is given of staged rollouts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from api.shapes.rollouts import Rollout
from mesh.events import DocumentName

Command = Literal["promote", "abort", "pause", "resume"]


class NoSuchRollout(Exception):
    """The message is for who asked."""


class RolloutIsOver(Exception):
    """The message is for who asked."""


class Rolling(Protocol):
    def all(self) -> tuple[Rollout, ...]:
        """The newest first."""
        ...

    def one(self, name: str) -> Rollout:
        """NoSuchRollout."""
        ...

    async def command(self, name: str, command: Command, by: str, reason: str) -> Rollout:
        """NoSuchRollout, RolloutIsOver."""
        ...

    async def stage(
        self, names: frozenset[DocumentName], stages: str, bake: str | None, by: str
    ) -> Callable[[], Awaitable[None]]:
        """What is written under `names` next goes out by `stages`, kept when this returns. Await what is returned if nothing was written. ValueError says what is wrong."""
        ...
