"""What an explanation says: steps, where each was decided, and what the client would see. Plain values; `explain/text.py` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Source:
    """Where something was decided: a document, the path of a field in it, and the file and line of that. Empty or None where it has none."""

    document: str
    path: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        inside = f", {self.path}" if self.path else ""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{self.document}{inside}" + (f" ({place})" if place else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One decision. `proxy`: whose it is, `<namespace>/<workload>`; empty where no proxy decides."""

    stage: str
    said: str
    details: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    proxy: str = ""


class Ending(StrEnum):
    """APPLICATION: the request arrives, and the application answers. ANSWERED: a proxy answers in its place. CLOSED: the connection is
    closed without an answer. OUTSIDE: it leaves the mesh.
    """

    APPLICATION = "application"
    ANSWERED = "answered"
    CLOSED = "closed"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client sees. `status`: that of the answer, where a proxy answers. `clusters`: those that the request was sent to on its way,
    the caller's first; `workloads`: those that may take it. `why` and `remedy` for what is no success. `location`: where a redirect leads.
    `arrives`: method, authority and path as the application gets them.
    """

    ending: Ending
    status: int | None = None
    clusters: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    why: str = ""
    remedy: str = ""
    location: str = ""
    arrives: str = ""
    grpc: str = ""

    def with_cluster(self, cluster: str) -> Outcome:
        """Sent to `cluster` first."""
        return replace(self, clusters=(cluster, *self.clusters))


@dataclass(frozen=True, slots=True)
class Branch:
    """What becomes of a `share` of such requests: steps, and then an outcome, or further branches whose shares are of this one's."""

    steps: tuple[Step, ...] = ()
    outcome: Outcome | None = None
    branches: tuple[Branch, ...] = ()
    share: Fraction = Fraction(1)
    label: str = ""

    def after(self, *steps: Step) -> Branch:
        """With `steps` before its own."""
        return replace(self, steps=(*steps, *self.steps))

    def sent_to(self, cluster: str) -> Branch:
        """As it looks from the proxy that sent the request to `cluster`."""
        outcome = self.outcome
        if outcome is not None:
            outcome = outcome.with_cluster(cluster)
        return replace(self, outcome=outcome, branches=tuple(each.sent_to(cluster) for each in self.branches))

    def ends(self) -> Iterator[tuple[Fraction, Outcome]]:
        """Each end, with its share of all requests."""
        if self.outcome is not None:
            yield self.share, self.outcome
        for each in self.branches:
            for share, outcome in each.ends():
                yield self.share * share, outcome

    def every_step(self) -> Iterator[Step]:
        yield from self.steps
        for each in self.branches:
            yield from each.every_step()


@dataclass(frozen=True, slots=True)
class Explanation:
    """`cautions`: what may make it otherwise: somebody who is asked, limits, what is not known here. `differences`: where a live proxy has
    something else than the mesh says.
    """

    question: str
    root: Branch
    cautions: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def outcomes(self) -> tuple[tuple[Fraction, Outcome], ...]:
        """What the client would see, the likeliest first; equal ends are one."""
        found: dict[Outcome, Fraction] = {}
        for share, outcome in self.root.ends():
            found[outcome] = found.get(outcome, Fraction(0)) + share
        return tuple(sorted(((share, each) for each, share in found.items()), key=lambda pair: -pair[0]))


def split(steps: tuple[Step, ...], branches: tuple[Branch, ...]) -> Branch:
    """One of several branches that takes everything is no branch, but what comes next."""
    if len(branches) == 1 and branches[0].share == 1:
        return branches[0].after(*steps)
    return Branch(steps, branches=branches)
