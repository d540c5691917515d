"""Which of several documents is older."""

from __future__ import annotations

from datetime import datetime


def seniority(created: datetime | None) -> tuple[int, float]:
    """Sorts the older first, those without a time of creation last."""
    return (1, 0.0) if created is None else (0, created.timestamp())
