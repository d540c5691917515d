"""What is wrong with objects of the cluster that the mesh itself needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

log = structlog.get_logger(__name__)

AUTHORITY: Final = "authority"
WEBHOOKS: Final = "webhooks"
LEADER: Final = "leader"


class Concerns:
    """By subject, until it is mended: told once in the log, and for as long as it lasts in `meshwright status`."""

    def __init__(self) -> None:
        self._by_subject: dict[str, str] = {}

    @property
    def current(self) -> Mapping[str, str]:
        return dict(self._by_subject)

    def tell(self, subject: str, problem: str) -> None:
        """`problem`: what happened and the way out; empty: all is well."""
        if problem == self._by_subject.get(subject, ""):
            return
        if problem:
            self._by_subject[subject] = problem
            log.warning("the cluster lacks what the mesh needs", subject=subject, reason=problem)
        else:
            del self._by_subject[subject]
            log.info("the cluster has again what the mesh needs", subject=subject)
