"""Staged rollouts: how far each is, and how it does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.shapes.shape import Shape


class RolloutLine(Shape):
    at: float = Field(description="Seconds since the epoch.")
    words: str


class RolloutSeen(Shape):
    """Requests and connections of this stage, as watched proxies logged them."""

    requests: int
    failed: int
    requests_without: int = Field(description="Of proxies that do not have the change.")
    failed_without: int


class Rollout(Shape):
    """One change on its way to all proxies, or one that was."""

    id: str
    documents: tuple[str, ...] = Field(description="`<kind> <namespace>/<name>`.")
    by: str = Field(description="What asked for it: a RolloutPolicy, or the write itself.")
    stages: tuple[str, ...]
    stage: int = Field(description="The one that it is in, from 1.")
    phase: Literal["acknowledging", "baking", "completed", "withdrawn", "ended"]
    paused: bool
    reason: str = Field(description="Why it is over; empty while it is on.")
    undone: str = Field(
        description="What became of the documents where they are kept, once it was withdrawn."
    )
    holding: bool = Field(
        description="Whether some proxies, or all, are given something else than the documents say."
    )
    started: float = Field(description="Seconds since the epoch.")
    ended: float | None
    proxies: int = Field(description="Connected ones, and those that are declared, that the change concerns.")
    having: int = Field(description="Connected ones that are given the change.")
    missing: tuple[str, ...] = Field(description="Those of them that have not acknowledged it yet.")
    seen: RolloutSeen
    health: str = Field(description="How it does, in words.")
    told: tuple[RolloutLine, ...] = Field(description="What happened, the oldest first.")


class RolloutList(Shape):
    items: tuple[Rollout, ...]


class RolloutCommand(Shape):
    """`reason` is for those who read the history."""

    reason: str = Field("", max_length=1000)
