"""Conditions as Kubernetes objects have them: `metav1.Condition`. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/ and KEP-1623: `lastTransitionTime` is when the status became what
it is, and stays while only the reason or the message change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from documents.reading import Tree

LONGEST: Final = 32768
"""Characters of a message, as the schema has it."""


@dataclass(frozen=True, slots=True)
class Wished:
    """A condition as it is to be. `reason` is a word of the API's."""

    type: str
    status: bool
    reason: str
    message: str = ""


def conditions(
    wished: Iterable[Wished], before: Tree | None, generation: int, now: str
) -> list[dict[str, Any]]:
    """`wished`, with the times of those of `before`, the list that stands in the object, that say the same of the same type.

    `generation` is that of the object which was looked at, `now` the time in RFC 3339. Types that are not wished for are left out.
    """
    known = {
        each["type"]: each
        for each in (before if isinstance(before, list) else ())
        if isinstance(each, dict) and isinstance(each.get("type"), str)
    }
    return [_one(each, known.get(each.type), generation, now) for each in wished]


def _one(wished: Wished, before: Mapping[str, Tree] | None, generation: int, now: str) -> dict[str, Any]:
    status = "True" if wished.status else "False"
    since = (
        before.get("lastTransitionTime") if before is not None and before.get("status") == status else None
    )
    return {
        "type": wished.type,
        "status": status,
        "reason": wished.reason,
        "message": wished.message[:LONGEST],
        "observedGeneration": generation,
        "lastTransitionTime": since if isinstance(since, str) else now,
    }
