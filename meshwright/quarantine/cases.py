"""Cases: a revision of a document that Envoys of one minor version refuse, as far as is known, and for whom it is set aside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from mesh.events import DocumentName
from meshwright.editions import Member

IDENTITIES = 2
"""Different identities, proved by certificates, that have to refuse a document before it is set aside for all proxies of their version,
where no Envoy here can be asked."""

FOUNDATIONS = frozenset({"Gateway", "Service", "Workload"})
"""Kinds of documents that much else stands on. Without one there is nothing left that Envoy could refuse, which proves nothing against it;
and nothing stands for it, unless it has just come.
"""

REMEMBERED = 1_000
"""Clients of a case that are remembered, each for itself."""


class Verdict(StrEnum):
    """What an Envoy of that version says, which the control plane asks itself. `UNKNOWN`: there is none here, or it cannot tell."""

    PENDING = "pending"
    REFUSES = "refuses"
    ACCEPTS = "accepts"
    UNKNOWN = "unknown"


CaseName = tuple[DocumentName, str, str]
"""A document, its revision, and the minor version of Envoy."""


@dataclass(frozen=True, slots=True)
class Case:
    """`clients` refused it, `identities` are those of them that were proved. `resource` and `message`: what was refused first, and Envoy's
    words. `origin`: where the document stood. `protects`: it keeps requests from somebody. `since`: seconds since 1970.
    """

    name: DocumentName
    revision: str
    envoy: str
    resource: str
    message: str
    origin: str
    since: float
    protects: bool = False
    clients: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()
    verdict: Verdict = Verdict.PENDING

    @property
    def id(self) -> CaseName:
        return self.name, self.revision, self.envoy

    @property
    def for_all(self) -> bool:
        """Whether it is set aside for all proxies of its version, and not only for those that refused it.

        An Envoy of our own has the last word where it can speak: whoever refuses what it accepts, however many they are, is odd or has
        something against it, and what they get instead is their own affair. Where it cannot speak, two identities do; but not of a document
        that protects somebody, which two workloads could take back together for the whole mesh.
        """
        if self.verdict is Verdict.REFUSES:
            return True
        return self.verdict is Verdict.UNKNOWN and not self.protects and len(self.identities) >= IDENTITIES

    def concerns(self, member: Member) -> bool:
        return self.envoy == member.envoy and (self.for_all or member.client in self.clients)

    def refused_by(self, client: str, identity: str | None) -> Case:
        """The same, when `client` has refused it too."""
        clients, identities = self.clients, self.identities
        if len(clients) < REMEMBERED:
            clients |= {client}
        if identity is not None and len(identities) < IDENTITIES:
            identities |= {identity}
        same = (clients, identities) == (self.clients, self.identities)
        return self if same else replace(self, clients=clients, identities=identities)
