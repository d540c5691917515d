"""SPIFFE identities (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from mesh.errors import InvalidName

TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """`spiffe://<trust domain>/ns/<namespace>/sa/<service account>`."""

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if not TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise InvalidName(
                f"trust domain {self.trust_domain!r} is not lower-case letters, digits, '.', '-' and '_'"
            )
        for what, segment in (("namespace", self.namespace), ("service account", self.service_account)):
            if not SEGMENT.fullmatch(segment) or segment in {".", ".."}:
                raise InvalidName(
                    f"{what} {segment!r} cannot be part of a SPIFFE id: use letters, digits, '.', '-' and '_'"
                )

    @property
    def uri(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def __str__(self) -> str:
        return self.uri

    @classmethod
    def parse(cls, uri: str) -> Self:
        """The identity that `uri` names; InvalidName if it is not of our form."""
        match uri.split("/"):
            case ["spiffe:", "", trust_domain, "ns", namespace, "sa", service_account]:
                return cls(trust_domain, namespace, service_account)
        raise InvalidName(f"{uri!r} is not spiffe://<trust domain>/ns/<namespace>/sa/<service account>")


@dataclass(frozen=True, slots=True)
class TrustDomains:
    """The trust domain of the mesh, in which it names its workloads, and its `aliases`: an identity of one of those, signed by the mesh's
    own authority, is the same workload. It has some while it moves from one trust domain to another. `former` were aliases lately: by
    them nobody is let in any more, but connections that were made before may still be open, and their callers are who they were.
    """

    own: str
    aliases: tuple[str, ...] = ()
    former: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """The mesh's own first."""
        return (self.own, *self.aliases)

    @property
    def callers(self) -> tuple[str, ...]:
        """Those by which callers on open connections may be known."""
        return (*self.all, *self.former)

    def same_as(self, trust_domain: str) -> tuple[str, ...]:
        """All by which a caller may be known whom `trust_domain` means. What is former means nothing by itself any more."""
        return self.callers if trust_domain in self.all else (trust_domain,)

    def own_name(self, identity: Identity) -> Identity:
        """`identity` by its name in the mesh's own trust domain; as it is, if it is none of the mesh."""
        return replace(identity, trust_domain=self.own) if identity.trust_domain in self.aliases else identity
