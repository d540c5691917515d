"""What the API is given of staged rollouts."""

from __future__ import annotations

from collections.abc import Callable
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

    def stage(
        self, names: frozenset[DocumentName], stages: str, bake: str | None, by: str
    ) -> Callable[[], None]:
        """What is written under `names` next goes out by `stages`; until what is returned is called. ValueError says what is wrong."""
        ...
