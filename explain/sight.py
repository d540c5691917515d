"""Where a request is: at which proxy, who sends it, and what policies hold there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from explain.answer import Outcome, Source, Step
from explain.blame import KINDS, Blame
from explain.rbac import Peer
from explain.request import Request
from mesh.names import Key
from mesh.policy import Place
from mesh.rules import RuleView
from mesh.service import ServicePort
from policies.kind import Side


@dataclass(frozen=True, slots=True)
class Sight:
    """`proxy`: whose decision it is. `calls`: what it calls, as policies target it, and `takes`: for what it takes the request; None where it
    does not, or nobody knows. `port`: that of the service which takes it. `gateway`: the proxy plays one, on this port. `rule`: the rule
    of a route that was taken.
    """

    proxy: Key
    peer: Peer
    blame: Blame
    calls: Place | None = None
    takes: Place | None = None
    port: ServicePort | None = None
    gateway: int | None = None
    rule: RuleView | None = None

    @property
    def whose(self) -> str:
        """Whose sidecars do the same here, in words."""
        if self.takes is not None and self.takes.service is not None:
            return f"the sidecars of service {self.takes.service}"
        return f"the proxy of {self.proxy}"

    def said(self, kind: str) -> tuple[Source, ...]:
        """The policies of `kind` that say something here."""
        side = KINDS[kind].side
        calls = self.blame.of(kind, self.calls, self.rule) if side & Side.CALLER else ()
        takes = self.blame.of(kind, self.takes) if side & (Side.CALLEE | Side.LISTENER) else ()
        return (*calls, *takes)

    def step(
        self, stage: str, said: str, details: tuple[str, ...] = (), sources: tuple[Source, ...] = ()
    ) -> Step:
        return Step(stage, said, details, tuple(dict.fromkeys(sources)), str(self.proxy))


@dataclass(frozen=True, slots=True)
class Passing:
    """What a part of a proxy made of a request: the request as it is now, and of such requests the shares that end here."""

    request: Request
    steps: tuple[Step, ...] = ()
    ended: tuple[tuple[Fraction, Outcome], ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def goes_on(self) -> Fraction:
        return Fraction(1) - sum((share for share, _ in self.ended), Fraction(0))

    def then(self, other: Passing) -> Passing:
        """`other` is what became of those that went on."""
        left = self.goes_on
        ended = (*self.ended, *((share * left, outcome) for share, outcome in other.ended))
        return Passing(other.request, (*self.steps, *other.steps), ended, (*self.cautions, *other.cautions))


def listed(names: Iterator[str] | tuple[str, ...], most: int = 5) -> str:
    """The first of `names`, and how many more there are."""
    every = tuple(names)
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")
