"""The checks, over a running control plane or over documents alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from api.shapes.acknowledgements import Acknowledgements
from api.shapes.analysis import Analysis, AnalysisFinding
from api.shapes.status import PlaintextReport, Status
from mesh.state import MeshState
from meshwright.analysis.catalogue import CHECKS, chosen
from meshwright.analysis.finding import RANK, Check, Finding, Severity
from meshwright.analysis.run import analyze
from meshwright.analysis.sight import Live, Sight


@dataclass(frozen=True, slots=True)
class Analyst:
    """What it needs of the program. `plaintext` gives a report that is reckoned beside the event loop; `newest`: how far the newest revision is;
    `replicas`: how many control planes there are.
    """

    state: Callable[[], MeshState]
    status: Callable[[], Status]
    plaintext: Callable[[], Callable[[], PlaintextReport]]
    newest: Callable[[], Acknowledgements]
    replicas: Callable[[], int]
    clock: Callable[[], datetime]

    async def analyze(self, codes: Iterable[str], severity: str) -> Analysis:
        """What checks whose code begins with one of `codes` (all if there are none) find, of `severity` and worse. KeyError for an unknown one."""
        checks = selected(codes, severity)
        state, status, reckon = self.state(), self.status(), self.plaintext()
        newest, now, replicas = self.newest(), self.clock(), self.replicas()
        return await asyncio.to_thread(
            lambda: told(checks, Sight(state, Live(status, now, reckon(), newest, replicas)))
        )


def selected(codes: Iterable[str], severity: str) -> tuple[Check, ...]:
    """KeyError for a code that no check begins with."""
    given, worst = tuple(codes), RANK[Severity(severity)]
    checks = chosen(given) if given else CHECKS
    return tuple(each for each in checks if RANK[each.severity] <= worst)


def told(checks: tuple[Check, ...], sight: Sight) -> Analysis:
    return Analysis(
        findings=tuple(_shown(each) for each in analyze(sight, checks)),
        checks=len(checks),
        live=sight.live is not None,
    )


def _shown(finding: Finding) -> AnalysisFinding:
    check, found = finding.check, finding.found
    return AnalysisFinding(
        code=check.code,
        severity=check.severity.value,
        title=check.title,
        subject=found.subject,
        message=found.message,
        documents=found.origin,
        why=check.why,
        cure=check.cure,
    )
