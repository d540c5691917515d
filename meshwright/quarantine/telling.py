"""What is told of the quarantine: to operators in a sentence, in the log, and in the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from meshwright.quarantine.book import Told
from meshwright.quarantine.cases import Case
from meshwright.quarantine.refused import Refused

QUARANTINED = "document quarantined"
FOR_ALL = "document quarantined for all proxies of a version"
RELEASED = "document no longer quarantined"
"""What is told in the log and in the audit log."""

log = structlog.get_logger(__name__)


class Record(Protocol):
    """Writes a line of the audit log."""

    def __call__(self, event: str, **fields: str | int) -> None: ...


@dataclass(frozen=True, slots=True)
class Teller:
    record: Record

    def tell(self, what: str, case: Case, *, why: str) -> None:
        fields: dict[str, str | int] = {
            "document": f"{case.name[0]} {case.name[1]}",
            "revision": case.revision,
            "envoy": case.envoy,
            "resource": case.resource,
            "origin": case.origin,
            "proxies": len(case.clients),
            "why": why,
        }
        (log.info if what == RELEASED else log.warning)(what, **fields)
        self.record(what, **fields)

    @staticmethod
    def untraced(refused: Refused) -> None:
        """The proxy keeps what it has of it, and a cold one goes without."""
        log.warning(
            "a proxy refuses what no document made",
            proxy=refused.client,
            resource=refused.about,
            message=refused.message,
        )


def problems(told: Iterable[Told], odd: Iterable[str]) -> dict[str, str]:
    """For `meshwright status`: by document, that it is set aside, for whom and why; and which proxies refuse too much."""
    found = {
        f"{case.name[0]} {case.name[1]} at {case.envoy or 'proxies of unknown version'}": sentence(each)
        for each in told
        if each.active
        for case in (each.case,)
    }
    for client in sorted(odd):
        found[f"proxy {client}"] = (
            "it refuses so much that nothing is set aside for it any more: it keeps what it took before. "
            "Look at its log, and whether something else than Envoy speaks in its name"
        )
    return found


def sentence(told: Told) -> str:
    """For whom a document is set aside, why, and what is in force there."""
    case = told.case
    whom = (
        f"all proxies of {case.envoy}"
        if case.for_all
        else f"{len(case.clients)} that refused it ({', '.join(sorted(case.clients)[:3])})"
    )
    if told.instead is None:
        there = "nothing can stand for it: they keep what they took before, and cold ones go without that resource"
    elif told.instead.value is None:
        there = "there, it is as if the document did not exist"
    else:
        there = "there, its earlier revision is in force"
    return (
        f"Envoy refuses {case.resource}, which it made ({case.origin}): {case.message}. "
        f"It is set aside for {whom}; {there}. Correct the document"
    )
